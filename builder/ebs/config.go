// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config,SourceConfig,AMIFilter,MachineConfig,NetworkConfig,Filter,SubnetFilter,ConnectConfig

package ebs

import (
	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

// Config is what a template tells the source "rightimage-ebs".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	publish.Config      `mapstructure:",squash"`
	// Comm are the SDK's options of the connection.
	Comm communicator.Config `mapstructure:",squash"`

	SourceConfig  `mapstructure:",squash"`
	MachineConfig `mapstructure:",squash"`
	NetworkConfig `mapstructure:",squash"`
	ConnectConfig `mapstructure:",squash"`

	ctx interpolate.Context
}

// SourceConfig says what the build machine is launched from. One of its options
// is needed.
type SourceConfig struct {
	// Id of the source AMI.
	SourceAMI string `mapstructure:"source_ami"`
	// Finds the source AMI.
	SourceAMIFilter AMIFilter `mapstructure:"source_ami_filter"`
	// Name of a parameter of Parameter Store that holds the id of the source AMI,
	// such as the public
	// `/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64`.
	SourceAMISSMParameter string `mapstructure:"source_ami_ssm_parameter"`
}

// AMIFilter finds an AMI.
type AMIFilter struct {
	// Filters of DescribeImages, such as `name = "debian-12-amd64-*"`. Several
	// values are separated by commas.
	Filters map[string]string `mapstructure:"filters"`
	// Whose images count: account ids, `self`, `amazon` or `aws-marketplace`.
	// Always needed: anybody can publish an image under any name.
	Owners []string `mapstructure:"owners"`
	// Take the newest when several images match. Without it several are an error.
	MostRecent bool `mapstructure:"most_recent"`
	// Deprecated images count as well.
	IncludeDeprecated bool `mapstructure:"include_deprecated"`
}

// MachineConfig describes the build machine.
type MachineConfig struct {
	// Type of the build machine, such as `t3.small`.
	InstanceType string `mapstructure:"instance_type"`
	// Types of a spot machine, in place of `instance_type`: the more there are, the
	// sooner one is free.
	SpotInstanceTypes []string `mapstructure:"spot_instance_types"`
	// The most that an hour of a spot machine may cost in US dollars, such as
	// `0.05`; `auto` for at most the on-demand price. It asks for a spot machine.
	SpotPrice string `mapstructure:"spot_price"`
	// How one of the types and zones is chosen: `price-capacity-optimized` (the
	// default), `capacity-optimized`, `lowest-price`, `diversified` or
	// `capacity-optimized-prioritized`.
	SpotAllocationStrategy string `mapstructure:"spot_allocation_strategy"`

	// Name of an instance profile for the build machine.
	IamInstanceProfile string `mapstructure:"iam_instance_profile"`
	// Policy (JSON, see `jsonencode`) of a role and instance profile that exist for
	// this build only.
	TemporaryProfilePolicy string `mapstructure:"temporary_iam_instance_profile_policy"`
	// User-data of the build machine.
	UserData string `mapstructure:"user_data"`
	// File with the user-data of the build machine; may be gzip.
	UserDataFile string `mapstructure:"user_data_file"`
	// Further volumes of the build machine, or changes of those that the source
	// AMI has. They become devices of the AMI. The root volume has options of its
	// own (`volume_size` and so on).
	LaunchMappings []publish.BlockDevice `mapstructure:"launch_block_device_mappings"`

	// Tags of the build machine. Templates such as `{{ .SourceAMI }}` are filled in.
	RunTags map[string]string `mapstructure:"run_tags"`
	// The same as `run_tags`, as blocks of `key` and `value`, for `dynamic`.
	RunTag config.KeyValues `mapstructure:"run_tag"`
	// Tags of the build machine's volumes.
	RunVolumeTags map[string]string `mapstructure:"run_volume_tags"`
	// The same as `run_volume_tags`, as blocks of `key` and `value`.
	RunVolumeTag config.KeyValues `mapstructure:"run_volume_tag"`
	// The last provisioner stops the machine; the build only waits for it.
	DisableStopInstance bool `mapstructure:"disable_stop_instance"`
}

// NetworkConfig says where the build machine stands. Everything has a default:
// the default VPC, the subnet with the most free addresses in a zone that has
// the instance type, and a temporary security group.
type NetworkConfig struct {
	// Id of the VPC.
	VpcID string `mapstructure:"vpc_id"`
	// Finds the VPC.
	VpcFilter Filter `mapstructure:"vpc_filter"`
	// Id of the subnet.
	SubnetID string `mapstructure:"subnet_id"`
	// Finds the subnet.
	SubnetFilter SubnetFilter `mapstructure:"subnet_filter"`
	// Availability zone, such as `us-east-1a`.
	AvailabilityZone string `mapstructure:"availability_zone"`
	// Give the build machine a public address: `true` or `false`. Default: as
	// the subnet does, or as `ssh_interface` needs it.
	AssociatePublicIP config.Trilean `mapstructure:"associate_public_ip_address"`

	// Ids of security groups, in place of a temporary one.
	SecurityGroupIDs []string `mapstructure:"security_group_ids"`
	// Finds security groups; all that match are used.
	SecurityGroupFilter Filter `mapstructure:"security_group_filter"`
	// Where SSH to the temporary security group may come from, as CIDR blocks.
	// Default: this machine's public address; the blocks of the VPC when
	// `ssh_interface` is private. The whole world must be asked for:
	// `["0.0.0.0/0"]`.
	TemporarySGCIDRs []string `mapstructure:"temporary_security_group_source_cidrs"`
	// HTTPS service that answers with this machine's public address. Default
	// `https://checkip.amazonaws.com`.
	PublicIPURL string `mapstructure:"public_ip_url"`
}

// Filter finds things.
type Filter struct {
	// Filters of the describe call. Several values are separated by commas.
	Filters map[string]string `mapstructure:"filters"`
}

// SubnetFilter finds a subnet.
type SubnetFilter struct {
	// Filters of DescribeSubnets. Several values are separated by commas.
	Filters map[string]string `mapstructure:"filters"`
	// Take the subnet with the most free addresses when several match.
	MostFree bool `mapstructure:"most_free"`
	// Take any of them when several match.
	Random bool `mapstructure:"random"`
}

// ConnectConfig says how the build machine is reached.
type ConnectConfig struct {
	// Address to connect to: `public_ip`, `private_ip`, `public_dns`,
	// `private_dns`, or `session_manager` for a tunnel through AWS Systems
	// Manager, which needs no open port. Default: the public address if the
	// machine has one, else the private one.
	SSHInterface string `mapstructure:"ssh_interface"`
	// Push the key of this build with EC2 Instance Connect before each login. No
	// key pair is made; the source AMI must have `ec2-instance-connect`.
	InstanceConnect bool `mapstructure:"instance_connect"`
}

// spot reports whether the build machine is a spot machine.
func (c *Config) spot() bool { return c.SpotPrice != "" || len(c.SpotInstanceTypes) > 0 }

// instanceTypes are the types that the build machine may have.
func (c *Config) instanceTypes() []string {
	if len(c.SpotInstanceTypes) > 0 {
		return c.SpotInstanceTypes
	}
	return []string{c.InstanceType}
}

// withSSH reports whether anything connects to the build machine.
func (c *Config) withSSH() bool { return c.Comm.Type == "ssh" }

// temporaryKey reports whether a key is made for this build.
func (c *Config) temporaryKey() bool {
	own := c.Comm.SSHKeyPairName != "" || c.Comm.SSHPrivateKeyFile != "" || c.Comm.SSHPassword != "" || c.Comm.SSHAgentAuth
	return c.withSSH() && !own
}
