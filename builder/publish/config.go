// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config,AccessConfig,AssumeRoleConfig,PollingConfig
//go:generate go run ../../internal/docgen ../..

package publish

import (
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// AccessConfig says how AWS, or something that speaks its protocol, is reached.
type AccessConfig struct {
	// The region of the image, such as `us-east-1`. With `regions` it is one
	// more of them.
	Region string `mapstructure:"region"`
	// Access key id. Without it the SDK's own chain serves: environment,
	// shared files, container or instance role.
	AccessKey string `mapstructure:"access_key"`
	// Secret access key; goes with `access_key`.
	SecretKey string `mapstructure:"secret_key"`
	// Session token of temporary credentials; goes with `access_key`.
	Token string `mapstructure:"token"`
	// Profile of the shared configuration files.
	Profile string `mapstructure:"profile"`
	// URL that serves every AWS API in every region, such as
	// `http://127.0.0.1:4566` for the local cloud. Wins over
	// `AWS_ENDPOINT_URL` and its service forms.
	EndpointURL string `mapstructure:"endpoint_url"`
	// Role to assume before any other call.
	AssumeRole AssumeRoleConfig `mapstructure:"assume_role"`
	// How often a control plane call is repeated after throttling or a network
	// error. Default 10.
	MaxRetries int `mapstructure:"max_retries"`
}

// AssumeRoleConfig names a role to assume with the credentials found.
type AssumeRoleConfig struct {
	// ARN of the role.
	RoleARN string `mapstructure:"role_arn"`
	// Name of the session in CloudTrail. Default `rightimage`.
	SessionName string `mapstructure:"session_name"`
	// External id that the role's trust policy asks for.
	ExternalID string `mapstructure:"external_id"`
}

// PollingConfig says how often and how long the state of a snapshot or image
// is asked for.
type PollingConfig struct {
	// Seconds between two requests. Default `AWS_POLL_DELAY_SECONDS`, else 2.
	DelaySeconds int `mapstructure:"delay_seconds"`
	// Number of requests before giving up. Default `AWS_MAX_ATTEMPTS`, else
	// as many as fit in `AWS_TIMEOUT_SECONDS`, else in 30 minutes.
	MaxAttempts int `mapstructure:"max_attempts"`
}

// Config is everything the shared publishing tail is told by a template.
// Nothing is published when neither region nor regions is given.
type Config struct {
	AccessConfig `mapstructure:",squash"`

	// Regions that get the image. The disk is uploaded to each of them.
	Regions []string `mapstructure:"regions"`
	// Name of the AMI, the same in all regions: 3 to 128 characters of
	// letters, digits, spaces and ` ( ) [ ] . / - ' @ _`.
	AMIName string `mapstructure:"ami_name"`
	// Description of the AMI, at most 255 characters.
	AMIDescription string `mapstructure:"ami_description"`
	// Architecture of the AMI, `x86_64` or `arm64`. Default: that of the disk.
	AMIArchitecture string `mapstructure:"ami_architecture"`
	// Boot mode of the AMI: `legacy-bios`, `uefi` or `uefi-preferred`.
	// Without it EC2 decides by architecture.
	BootMode string `mapstructure:"boot_mode"`
	// Enhanced networking (ENA). Default true.
	EnaSupport config.Trilean `mapstructure:"ena_support"`
	// `v2.0` (the default): instances of the AMI accept IMDSv2 only.
	// `optional`: they accept IMDSv1 as well.
	IMDSSupport string `mapstructure:"imds_support"`
	// Name of the root device. Default `/dev/xvda`.
	RootDeviceName string `mapstructure:"root_device_name"`
	// Size of the root volume in GiB. Default: the disk's size, rounded up.
	VolumeSize int64 `mapstructure:"volume_size"`
	// Type of the root volume: `gp3` (the default), `gp2` or `standard`.
	VolumeType string `mapstructure:"volume_type"`

	// Tags of the AMI, and of its snapshots as well unless `snapshot_tags`
	// gives the same key another value.
	Tags map[string]string `mapstructure:"tags"`
	// The same as `tags`, as blocks of `key` and `value`, for `dynamic`.
	Tag config.KeyValues `mapstructure:"tag"`
	// Further tags of the snapshots.
	SnapshotTags map[string]string `mapstructure:"snapshot_tags"`
	// The same as `snapshot_tags`, as blocks of `key` and `value`.
	SnapshotTag config.KeyValues `mapstructure:"snapshot_tag"`
	// Leave out the tags that say where an image comes from (`rightimage:…`).
	SkipProvenanceTags bool `mapstructure:"skip_provenance_tags"`

	// Most block uploads at a time in one region, 1 to 64. The number in use
	// starts at 8 and follows what the service takes. Default 64.
	UploadConcurrency int `mapstructure:"upload_concurrency"`
	// How long one try to store a block may take. Default 30s.
	UploadAttemptTimeout time.Duration `mapstructure:"upload_attempt_timeout"`
	// The upload fails when for this long not a single block could be stored.
	// Default 5m.
	UploadTimeout time.Duration `mapstructure:"upload_timeout"`
	// How long removing what a failed or cancelled build made may take.
	// Default 5m.
	UndoTimeout time.Duration `mapstructure:"undo_timeout"`
	// How often and how long states are polled.
	Polling PollingConfig `mapstructure:"aws_polling"`

	// Provenance holds further provenance tags, such as the digest of the
	// input disk. The builder sets it; it is no option.
	Provenance map[string]string `mapstructure:"-" mapstructure-to-hcl2:",skip"`
}

// Targets returns the regions that get the image, each once: region first,
// then regions in their order.
func (c Config) Targets() []string {
	var targets []string
	for _, r := range append([]string{c.Region}, c.Regions...) {
		if r != "" && !slices.Contains(targets, r) {
			targets = append(targets, r)
		}
	}
	return targets
}

// Wanted reports whether the template asks for publication.
func (c Config) Wanted() bool { return len(c.Targets()) > 0 }

// Secrets returns the values that must never be printed, for the caller's log
// filter.
func (c Config) Secrets() []string {
	var secrets []string
	for _, s := range []string{c.SecretKey, c.Token} {
		if s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// AWS turns the access options into the settings of the client factory.
func (c Config) AWS() awsx.Config {
	region := ""
	if t := c.Targets(); len(t) > 0 {
		region = t[0]
	}
	return awsx.Config{
		Region:      region,
		AccessKey:   c.AccessKey,
		SecretKey:   secret.String(c.SecretKey),
		Token:       secret.String(c.Token),
		Profile:     c.Profile,
		EndpointURL: c.EndpointURL,
		MaxRetries:  c.MaxRetries,
		AssumeRole:  awsx.AssumeRole(c.AssumeRole),
	}
}
