// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../../../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config

package boottest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// Config is what a template says of the boot test.
type Config struct {
	// Launch the image before it is copied, shared or public. Default: `true`
	// when everybody gets the image or its snapshots, else `false`.
	Enabled config.Trilean `mapstructure:"enabled"`
	// Type of the machine. Default: that of the build machine for
	// `rightimage-ebs`; else `t3.small`, `t4g.small` for arm64, `t2.small` for
	// images without ENA.
	InstanceType string `mapstructure:"instance_type"`
	// Id of the machine's subnet. Default: that of the build machine for
	// `rightimage-ebs`, else one of the default VPC.
	SubnetID string `mapstructure:"subnet_id"`
	// Give the machine a public address: `true` or `false`. Default: as the subnet
	// does.
	AssociatePublicIP config.Trilean `mapstructure:"associate_public_ip_address"`
	// Ids of security groups, in place of a temporary one that lets in SSH.
	SecurityGroupIDs []string `mapstructure:"security_group_ids"`
	// Where SSH to the temporary security group may come from, as CIDR blocks.
	// Default: this machine's public address; the blocks of the VPC when the
	// subnet gives no public addresses.
	SourceCIDRs []string `mapstructure:"temporary_security_group_source_cidrs"`
	// How the machine is looked at. `ssh` (the default) logs in with a key of its
	// own and makes all checks. `console` waits until the console asks for a
	// login; it needs no key and no open port.
	Connect string `mapstructure:"connect"`
	// Address to log in at: `public_ip` or `private_ip`. Default: the public one if
	// the machine has it.
	SSHInterface string `mapstructure:"ssh_interface"`
	// User to log in as. Default: the usual ones, such as root, admin, ubuntu and
	// ec2-user, one after the other.
	SSHUsername string `mapstructure:"ssh_username"`
	// Port of the SSH server. Default 22.
	SSHPort int `mapstructure:"ssh_port"`
	// User-data of the machine. Default: none.
	UserData string `mapstructure:"user_data"`
	// Do not reboot the machine to look at it again.
	SkipReboot bool `mapstructure:"skip_reboot"`
	// How long the machine may take for all of it. Default 10m.
	Timeout time.Duration `mapstructure:"timeout"`
}

// Values of connect and of ssh_interface.
const (
	connectSSH     = "ssh"
	connectConsole = "console"
	publicIP       = "public_ip"
	privateIP      = "private_ip"
)

// Defaults and bounds.
const (
	defaultPort    = 22
	defaultTimeout = 10 * time.Minute
	minTimeout     = 10 * time.Second
	maxTimeout     = 2 * time.Hour
	// Before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
	maxUserData = 16 << 10
)

// Console is the value of connect that needs no connection to the machine.
const Console = connectConsole

// Wanted reports whether an image is tested; public tells that everybody gets it.
func (c Config) Wanted(public bool) bool {
	if on := c.Enabled.ToBoolPointer(); on != nil {
		return *on
	}
	return public
}

// Prepare sets defaults and calls add with the option, what is wrong with it, and
// what to do.
func (c *Config) Prepare(add func(option, rule, remedy string)) {
	c.Connect = cmp.Or(c.Connect, connectSSH)
	c.SSHPort = cmp.Or(c.SSHPort, defaultPort)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if !slices.Contains([]string{connectSSH, connectConsole}, c.Connect) {
		add("boot_test.connect", fmt.Sprintf("is %q", c.Connect), "use ssh or console")
	}
	if c.SSHPort < 1 || c.SSHPort > 65535 {
		add("boot_test.ssh_port", fmt.Sprintf("is %d", c.SSHPort), "use a port such as 22")
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		add("boot_test.timeout", fmt.Sprintf("must be %s to %s, is %s", minTimeout, maxTimeout, c.Timeout), `write it with a unit, such as "10m"`)
	}
	if len(c.UserData) > maxUserData {
		add("boot_test.user_data", fmt.Sprintf("can have at most %d bytes, has %d", maxUserData, len(c.UserData)), "use less")
	}
	c.prepareNetwork(add)
}

func (c *Config) prepareNetwork(add func(option, rule, remedy string)) {
	if !slices.Contains([]string{"", publicIP, privateIP}, c.SSHInterface) {
		add("boot_test.ssh_interface", fmt.Sprintf("is %q", c.SSHInterface), "use public_ip or private_ip")
	}
	if c.SubnetID != "" && !strings.HasPrefix(c.SubnetID, "subnet-") {
		add("boot_test.subnet_id", fmt.Sprintf("is %q", c.SubnetID), "use an id such as subnet-0123456789abcdef0")
	}
	for _, id := range c.SecurityGroupIDs {
		if !strings.HasPrefix(id, "sg-") {
			add("boot_test.security_group_ids", fmt.Sprintf("has %q", id), "use ids such as sg-0123456789abcdef0")
		}
	}
	if len(c.SecurityGroupIDs) > 0 && len(c.SourceCIDRs) > 0 {
		add("boot_test.temporary_security_group_source_cidrs", "has no effect on security_group_ids", "leave one of them out")
	}
	for _, block := range c.SourceCIDRs {
		if p, err := netip.ParsePrefix(block); err != nil || p.Masked() != p {
			add("boot_test.temporary_security_group_source_cidrs", fmt.Sprintf("has %q", block), "use a block such as 192.0.2.7/32")
		}
	}
}
