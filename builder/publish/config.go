// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config,AccessConfig,AssumeRoleConfig,PollingConfig,BlockDevice,EncryptionConfig,ShareConfig,VerifyConfig,ProofConfig,LifeConfig,ProtectionConfig,ResumeConfig
//go:generate go run ../../internal/docgen ../..

package publish

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

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

	// Regions that get the image.
	Regions []string `mapstructure:"regions"`
	// How the image gets into several regions. `copy` (the default): it is made
	// in the first one and copied from there. `upload`: the disk is uploaded to
	// each of them, side by side, and nothing is copied; only for
	// `rightimage-disk`.
	RegionStrategy string `mapstructure:"region_strategy"`
	// Most copies at a time, 1 to 100. Default 8.
	CopyConcurrency int `mapstructure:"copy_concurrency"`
	// Check everything and build, but make no AMI.
	SkipCreateAMI bool `mapstructure:"skip_create_ami"`

	// Name of the AMI, the same in all regions: 3 to 128 characters of
	// letters, digits, spaces and ` ( ) [ ] . / - ' @ _`.
	AMIName string `mapstructure:"ami_name"`
	// Description of the AMI, at most 255 characters. Templates such as
	// `{{ .SourceAMI }}` are filled in when the image is made.
	AMIDescription string `mapstructure:"ami_description"`
	// Architecture of the AMI, `x86_64` or `arm64`. Default: that of the machine or
	// of the disk that was built; `x86_64` for a disk that was made elsewhere.
	AMIArchitecture string `mapstructure:"ami_architecture"`
	// Boot mode of the AMI: `legacy-bios`, `uefi` or `uefi-preferred`.
	// Without it EC2 decides by architecture.
	BootMode string `mapstructure:"boot_mode"`
	// UEFI variables of the AMI, base64, as the tool `python-uefivars` makes
	// them. Needs `boot_mode` `uefi` or `uefi-preferred`.
	UefiData string `mapstructure:"uefi_data"`
	// `v2.0` gives instances a NitroTPM. Needs `boot_mode` `uefi`.
	TpmSupport string `mapstructure:"tpm_support"`
	// Enhanced networking (ENA). Default true.
	EnaSupport config.Trilean `mapstructure:"ena_support"`
	// `v2.0` (the default): instances of the AMI accept IMDSv2 only.
	// `optional`: they accept IMDSv1 as well.
	IMDSSupport string `mapstructure:"imds_support"`

	// Name of the root device. Default `/dev/xvda`.
	RootDeviceName string `mapstructure:"root_device_name"`
	// Size of the root volume in GiB. Default: the disk's size, rounded up.
	VolumeSize int64 `mapstructure:"volume_size"`
	// Type of the root volume: `gp3` (the default), `gp2`, `io1`, `io2` or
	// `standard`.
	VolumeType string `mapstructure:"volume_type"`
	// IOPS of the root volume, for `gp3`, `io1` and `io2`.
	VolumeIOPS int64 `mapstructure:"volume_iops"`
	// Throughput of the root volume in MiB/s, for `gp3`.
	VolumeThroughput int64 `mapstructure:"volume_throughput"`
	// Further devices of the AMI.
	AMIMappings []BlockDevice `mapstructure:"ami_block_device_mappings"`

	// Tags of the AMI, and of its snapshots as well unless `snapshot_tags`
	// gives the same key another value. Templates such as `{{ .SourceAMI }}` are
	// filled in when the image is made.
	Tags map[string]string `mapstructure:"tags"`
	// The same as `tags`, as blocks of `key` and `value`, for `dynamic`.
	Tag config.KeyValues `mapstructure:"tag"`
	// Further tags of the snapshots.
	SnapshotTags map[string]string `mapstructure:"snapshot_tags"`
	// The same as `snapshot_tags`, as blocks of `key` and `value`.
	SnapshotTag config.KeyValues `mapstructure:"snapshot_tag"`
	// Leave out the tags that say where an image comes from (`rightimage:…`).
	SkipProvenanceTags bool `mapstructure:"skip_provenance_tags"`

	EncryptionConfig `mapstructure:",squash"`
	ShareConfig      `mapstructure:",squash"`
	LifeConfig       `mapstructure:",squash"`
	ResumeConfig     `mapstructure:",squash"`
	VerifyConfig     `mapstructure:",squash"`
	ProofConfig      `mapstructure:",squash"`

	// Most block uploads at a time in one region, 1 to 64. The number in use
	// follows what the service takes. Default 64.
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

	// Facts are set by the builder; they are no options.
	Facts `mapstructure:"-" mapstructure-to-hcl2:",skip"`

	// publishID is the tag of everything that one run makes.
	publishID string
}

// Facts are what the caller knows of an image and the template does not say.
type Facts struct {
	// Provenance holds further provenance tags, such as the digest of the
	// input disk, without the prefix "rightimage:".
	Provenance map[string]string
	// TemplateData fills in the templates in tags and ami_description.
	TemplateData map[string]any
	// TemplateContext gives those templates the functions of the builder.
	TemplateContext interpolate.Context
	// About is what the catalogue says of the image besides the AMIs.
	About catalogue.Entry
	// NotYet is how long after its creation a thing may be unknown to some of
	// the service's machines. Default 2 minutes; tests shorten it.
	NotYet time.Duration
	// DiskName is the path that the journal and the block manifest are named
	// after, when that is not the disk's own: a builder's working copy has
	// another name in each run.
	DiskName string
	// Inspected is true when the disk was searched for secrets already.
	Inspected bool
	// BuildSecrets are secrets that the build was given, to be searched for.
	BuildSecrets []string
	// Maker is the part of the toolkit that builds, such as "rightimage-disk".
	Maker string
	// Started is when the build began.
	Started time.Time
	// Inventory lists what is in the disk at path; nil where its files are not
	// at hand.
	Inventory func(ctx context.Context, path string) (*sbom.Inventory, error)
}

// EncryptionConfig says how the snapshots of the image are encrypted.
type EncryptionConfig struct {
	// Encrypt the image's snapshots: `true` or `false`. Without it they are as
	// EC2 makes them: like the source, or as the account's default is.
	EncryptBoot config.Trilean `mapstructure:"encrypt_boot"`
	// KMS key of the first region: id, ARN or alias. It implies `encrypt_boot`.
	// An upload takes no alias. With several regions it must be a multi-Region
	// key (`mrk-…`) or an alias, or `region_kms_key_ids` must name the others.
	KmsKeyID string `mapstructure:"kms_key_id"`
	// KMS key by region, for exactly the regions of the image; `kms_key_id`
	// may stand for the first one. An empty value is the default key there.
	RegionKmsKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
}

// ShareConfig says who may use the image and its snapshots.
type ShareConfig struct {
	// Accounts that may launch the image.
	AMIUsers []string `mapstructure:"ami_users"`
	// `["all"]` makes the image public.
	AMIGroups []string `mapstructure:"ami_groups"`
	// ARNs of organisations whose accounts may launch the image.
	AMIOrgARNs []string `mapstructure:"ami_org_arns"`
	// ARNs of organisational units whose accounts may launch the image.
	AMIOUARNs []string `mapstructure:"ami_ou_arns"`
	// Accounts that may make volumes of the snapshots.
	SnapshotUsers []string `mapstructure:"snapshot_users"`
	// `["all"]` makes the snapshots public.
	SnapshotGroups []string `mapstructure:"snapshot_groups"`
}

// LifeConfig says what becomes of the image, and of older ones.
type LifeConfig struct {
	// When the image becomes deprecated, as RFC 3339, such as
	// `2030-01-31T00:00:00Z`: in the future, and at most 10 years (public images:
	// 2 years) from now.
	DeprecateAt string `mapstructure:"deprecate_at"`
	// The same as a time after the build: days such as `90d`, or a Go duration
	// such as `2160h`.
	DeprecateAfter string `mapstructure:"deprecate_after"`
	// Guards the image against being deregistered.
	Protection ProtectionConfig `mapstructure:"deregistration_protection"`
	// Replace an image of the same name. It goes only when the new one is
	// there in all regions.
	ForceDeregister bool `mapstructure:"force_deregister"`
	// Delete the snapshots of the image replaced, unless other images use them.
	ForceDeleteSnapshot bool `mapstructure:"force_delete_snapshot"`
	// Name of the family: images that follow one another. It becomes the tag
	// `rightimage:family`.
	Family string `mapstructure:"family"`
	// Keep so many images of the family and architecture in each region, the
	// new one included, and remove older ones with their snapshots. Default:
	// keep all.
	KeepNewest int `mapstructure:"keep_newest"`
	// Name of a parameter of Parameter Store that gets the image's id in each
	// region, such as `/images/web`.
	SSMParameter string `mapstructure:"ssm_parameter"`
	// Path of a catalogue file that gets an entry for the image. Several builds
	// may share one.
	CatalogueFile string `mapstructure:"catalogue_file"`
}

// ProtectionConfig guards an image against being deregistered.
type ProtectionConfig struct {
	// Turn the protection on.
	Enabled bool `mapstructure:"enabled"`
	// Once turned off, the protection stays for another 24 hours.
	WithCooldown bool `mapstructure:"with_cooldown"`
}

// ResumeConfig says what an upload need not send again.
type ResumeConfig struct {
	// Send only the blocks that differ from the snapshot of the last image, as
	// the block manifest tells. Default true; without a manifest that fits
	// everything is sent.
	Incremental config.Trilean `mapstructure:"incremental"`
	// Where the block manifest is kept: a path, or `s3://bucket/key` of a bucket
	// in the first region. Default: the finished disk's path with `.blocks`
	// after it.
	BlockManifest string `mapstructure:"block_manifest"`
	// Directory of the journals with which an upload goes on after the builder
	// was killed. Default: the finished disk's directory.
	JournalDirectory string `mapstructure:"journal_directory"`
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

// Late are the options whose templates are filled in when the image is made.
// A builder excludes them from interpolation when it reads its options.
func Late() []string {
	return []string{"ami_description", "tags", "tag", "snapshot_tags", "snapshot_tag"}
}
