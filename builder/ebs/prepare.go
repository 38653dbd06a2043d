// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/internal/publicip"
)

// problems collects what is wrong with a template.
type problems []error

// add records a problem: the option, the rule with the value, the remedy.
func (p *problems) add(option, rule, remedy string) {
	*p = append(*p, fmt.Errorf("%s: %s: %s", option, rule, remedy))
}

func (p *problems) oneOf(option, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		p.add(option, fmt.Sprintf("is %q", value), "use "+strings.Join(allowed, ", "))
	}
}

// late are the options whose templates are filled in during the build.
func late() []string {
	return append(publish.Late(), "run_tags", "run_tag", "run_volume_tags", "run_volume_tag")
}

// decode reads the template's options. Unknown options come back as problems
// beside the decoded rest, so that Prepare can report everything at once.
func (c *Config) decode(raws ...any) []error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: late()},
	}, raws...)
	if err == nil {
		return nil
	}
	var several *multierror.Error
	if errors.As(err, &several) {
		return several.Errors
	}
	return []error{err}
}

// prepare sets defaults and returns every problem of the template.
func (c *Config) prepare() []error {
	var p problems
	c.setDefaults()
	c.checkSourceOptions(&p)
	c.checkMachine(&p)
	c.checkNetwork(&p)
	c.checkConnection(&p)
	if c.Region == "" {
		p.add("region", "is missing", "name the region of the build machine, such as us-east-1")
		return p
	}
	return append(p, c.PrepareImage()...)
}

func (c *Config) setDefaults() {
	c.Comm.Type = cmp.Or(c.Comm.Type, "ssh")
	c.PublicIPURL = cmp.Or(c.PublicIPURL, publicip.DefaultURL)
	if c.SSHInterface == sessionManager { // no way in from here but through a tunnel
		c.BootTest.Connect = cmp.Or(c.BootTest.Connect, boottest.Console)
	}
	if c.spot() {
		c.SpotAllocationStrategy = cmp.Or(c.SpotAllocationStrategy, defaultStrategy)
	}
}

func (c *Config) checkSourceOptions(p *problems) {
	var given []string
	if c.SourceAMI != "" {
		given = append(given, "source_ami")
		if !strings.HasPrefix(c.SourceAMI, "ami-") {
			p.add("source_ami", fmt.Sprintf("is %q", c.SourceAMI), "use an id such as ami-0123456789abcdef0, or source_ami_filter")
		}
	}
	f := c.SourceAMIFilter
	if len(f.Filters) > 0 || len(f.Owners) > 0 || f.MostRecent || f.IncludeDeprecated {
		given = append(given, "source_ami_filter")
		if len(f.Filters) == 0 {
			p.add("source_ami_filter.filters", "is missing", `set it, for instance to { name = "debian-12-amd64-*" }`)
		}
		if len(f.Owners) == 0 {
			p.add("source_ami_filter.owners", "is missing", "name whose images count, as account ids, self or amazon: anybody can publish an image under any name")
		}
	}
	if c.SourceAMISSMParameter != "" {
		given = append(given, "source_ami_ssm_parameter")
	}
	switch len(given) {
	case 0:
		p.add("source_ami", "is missing", "set it, source_ami_filter or source_ami_ssm_parameter")
	case 1:
	default:
		p.add(strings.Join(given, ", "), "are all set", "keep one of them")
	}
}

// checkMachine checks type, profile, user-data, volumes and tags.
func (c *Config) checkMachine(p *problems) {
	c.checkSpot(p)
	if c.IamInstanceProfile != "" && c.TemporaryProfilePolicy != "" {
		p.add("iam_instance_profile, temporary_iam_instance_profile_policy", "are both set", "keep one of them")
	}
	if c.TemporaryProfilePolicy != "" {
		checkPolicy(p, c.TemporaryProfilePolicy)
	}
	if c.UserData != "" && c.UserDataFile != "" {
		p.add("user_data, user_data_file", "are both set", "keep one of them")
	} else if data, err := c.userData(); err != nil {
		p.add("user_data_file", err.Error(), "name a file that can be read")
	} else if len(data) > maxUserData {
		p.add("user_data", fmt.Sprintf("can have at most %d bytes, has %d", maxUserData, len(data)), "compress the file with gzip, or fetch the rest from within")
	}
	*p = append(*p, publish.CheckDevices("launch_block_device_mappings", c.LaunchMappings, true)...)
	for _, t := range []struct {
		option string
		tags   map[string]string
		more   func(*map[string]string) []error
	}{{"run_tags", c.RunTags, c.RunTag.CopyOn}, {"run_volume_tags", c.RunVolumeTags, c.RunVolumeTag.CopyOn}} {
		checkTags(p, t.option, t.tags, t.more)
	}
}

func (c *Config) checkSpot(p *problems) {
	if c.InstanceType == "" && len(c.SpotInstanceTypes) == 0 {
		p.add("instance_type", "is missing", "set it, for instance to t3.small, or spot_instance_types")
	}
	if c.InstanceType != "" && len(c.SpotInstanceTypes) > 0 {
		p.add("instance_type, spot_instance_types", "are both set", "keep one of them")
	}
	if c.SpotPrice != "" && c.SpotPrice != autoPrice && !isPrice(c.SpotPrice) {
		p.add("spot_price", fmt.Sprintf("is %q", c.SpotPrice), `use US dollars such as "0.05", or "auto"`)
	}
	if c.SpotAllocationStrategy != "" && !c.spot() {
		p.add("spot_allocation_strategy", "is set, but no spot machine is asked for", "set spot_price or spot_instance_types as well, or leave it out")
	}
	p.oneOf("spot_allocation_strategy", c.SpotAllocationStrategy, strategies()...)
	if c.spot() && c.DisableStopInstance {
		p.add("disable_stop_instance", "is set, but a spot machine cannot be stopped", "leave it out: the machine is rebooted for the image")
	}
}

func (c *Config) checkNetwork(p *problems) {
	if c.VpcID != "" && len(c.VpcFilter.Filters) > 0 {
		p.add("vpc_id, vpc_filter", "are both set", "keep one of them")
	}
	f := c.SubnetFilter
	if c.SubnetID != "" && len(f.Filters) > 0 {
		p.add("subnet_id, subnet_filter", "are both set", "keep one of them")
	}
	if f.MostFree && f.Random {
		p.add("subnet_filter", "most_free and random are both set", "keep one of them")
	}
	if len(c.SecurityGroupIDs) > 0 && len(c.SecurityGroupFilter.Filters) > 0 {
		p.add("security_group_ids, security_group_filter", "are both set", "keep one of them")
	}
	own := len(c.SecurityGroupIDs) > 0 || len(c.SecurityGroupFilter.Filters) > 0
	if own && len(c.TemporarySGCIDRs) > 0 {
		p.add("temporary_security_group_source_cidrs", "has no effect on existing security groups", "leave it out, or leave out security_group_ids and security_group_filter")
	}
	through := cmp.Or(c.Comm.SSHBastionHost, c.Comm.SSHProxyHost)
	if through != "" && !own && len(c.TemporarySGCIDRs) == 0 && c.SSHInterface != sessionManager {
		p.add("temporary_security_group_source_cidrs", "is missing, and the connection comes from "+through, "name the address that it has there, such as 10.0.0.5/32")
	}
	for _, cidr := range c.TemporarySGCIDRs {
		if why := checkCIDR(cidr); why != "" {
			p.add("temporary_security_group_source_cidrs", why, "use a block such as 192.0.2.7/32")
		}
	}
	if why := checkEchoURL(c.PublicIPURL); why != "" {
		p.add("public_ip_url", why, "use an https URL such as "+publicip.DefaultURL)
	}
}

func (c *Config) checkConnection(p *problems) {
	if c.Comm.Type != "ssh" && c.Comm.Type != "none" {
		p.add("communicator", fmt.Sprintf("is %q", c.Comm.Type), "use ssh or none")
		return
	}
	p.oneOf("ssh_interface", c.SSHInterface, publicIP, privateIP, publicDNS, privateDNS, sessionManager)
	keyFile := c.Comm.SSHPrivateKeyFile != "" || c.Comm.SSHAgentAuth
	if c.Comm.SSHKeyPairName != "" && !keyFile {
		p.add("ssh_keypair_name", "is set, but not its private half", "set ssh_private_key_file or ssh_agent_auth as well")
	}
	if c.InstanceConnect && !c.temporaryKey() {
		p.add("instance_connect", "is set together with another way to log in", "leave out ssh_keypair_name, ssh_private_key_file, ssh_password and ssh_agent_auth")
	}
	if c.SSHInterface == sessionManager && cmp.Or(c.Comm.SSHBastionHost, c.Comm.SSHProxyHost, c.Comm.SSHHost) != "" {
		p.add("ssh_interface", "is session_manager, and ssh_bastion_host, ssh_proxy_host or ssh_host is set", "keep one way")
	}
	for _, err := range c.Comm.Prepare(&c.ctx) {
		*p = append(*p, fmt.Errorf("communicator: %w", err))
	}
}

// userData is what the machine gets, gzip or not, not yet encoded.
func (c *Config) userData() ([]byte, error) {
	if c.UserDataFile == "" {
		return []byte(c.UserData), nil
	}
	return os.ReadFile(c.UserDataFile)
}

// secrets are the values that must not be printed.
func (c *Config) secrets() []string {
	out := c.Secrets()
	for _, s := range []string{c.Comm.SSHPassword, c.Comm.SSHBastionPassword, c.Comm.SSHProxyPassword} {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// collect turns problems into the one error that Packer prints.
func collect(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return packersdk.MultiErrorAppend(nil, problems...)
}
