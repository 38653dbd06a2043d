// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

// bed is a cloud with clients, for one test.
type bed struct {
	*matrix.Cloud
	t *testing.T
	f *awsx.Factory
}

func newBed(t *testing.T) *bed {
	t.Helper()
	matrix.Quiet(t)
	c, err := matrix.Start(t)
	require.NoError(t, err)
	f, err := c.Factory(t.Context())
	require.NoError(t, err)
	return &bed{c, t, f}
}

func (b *bed) here() *ec2.Client { return b.f.EC2(matrix.Here) }

// plain publishes to one region, and shares nothing.
func (b *bed) plain() publish.Config {
	p := open(b.Cloud)
	p.Regions, p.ShareConfig, p.LifeConfig = nil, publish.ShareConfig{}, publish.LifeConfig{}
	return p
}

// must publishes.
func (b *bed) must(p publish.Config) (*publish.Result, string) {
	b.t.Helper()
	result, told, err := run(b.t.Context(), b.Cloud, p)
	require.NoError(b.t, err, told)
	return result, told
}

func (b *bed) things() []matrix.Thing {
	b.t.Helper()
	things, err := b.Things(b.t.Context())
	require.NoError(b.t, err)
	return things
}

// What would be refused at the very end is found before anything is made, in all
// regions, with the option and the remedy.
func TestPrecheck(t *testing.T) {
	for name, tc := range map[string]struct {
		config func(b *bed, p *publish.Config)
		want   []string
	}{
		"public images are blocked": {
			func(_ *bed, p *publish.Config) { p.AMIGroups = []string{"all"} },
			[]string{"ami_groups", "blocks public images in eu-west-1", "blocks public images in us-east-1", "block-new-sharing", "aws ec2 disable-image-block-public-access --region us-east-1"},
		},
		"public snapshots are blocked": {
			func(b *bed, p *publish.Config) {
				_, err := b.here().EnableSnapshotBlockPublicAccess(b.t.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{State: "block-all-sharing"})
				require.NoError(b.t, err)
				p.SnapshotGroups = []string{"all"}
			},
			[]string{"snapshot_groups", "blocks public snapshots in eu-west-1 (block-all-sharing)", "aws ec2 disable-snapshot-block-public-access --region eu-west-1"},
		},
		"everything is encrypted": {
			func(b *bed, p *publish.Config) {
				b.encryptAll()
				p.EncryptBoot = config.TriFalse
			},
			[]string{"encrypt_boot: is false", "eu-west-1", "disable-ebs-encryption-by-default"},
		},
		"everything is encrypted with a key of AWS": {
			func(b *bed, p *publish.Config) { b.encryptAll(); p.AMIUsers = []string{neighbour} },
			[]string{"ami_users", "others cannot use", "kms_key_id"},
		},
		"everything is encrypted, and is to be public": {
			func(b *bed, p *publish.Config) {
				b.encryptAll()
				p.AMIGroups = []string{"all"}
			},
			[]string{"what is encrypted cannot be public", "leave \"all\" out"},
		},
		"the parameter is a secret": {
			func(b *bed, p *publish.Config) {
				_, err := b.f.SSM(matrix.There).PutParameter(b.t.Context(), &ssm.PutParameterInput{Name: aws.String("/x"), Value: aws.String("y"), Type: ssmtypes.ParameterTypeStringList})
				require.NoError(b.t, err)
				p.SSMParameter = "/x"
			},
			[]string{"ssm_parameter: /x in us-east-1 is a StringList"},
		},
		"a device's snapshot is not there": {
			func(_ *bed, p *publish.Config) {
				p.RegionStrategy = "copy"
				p.AMIMappings = []publish.BlockDevice{{DeviceName: "/dev/sdf", SnapshotID: "snap-0123456789abcdef0"}}
			},
			[]string{"ami_block_device_mappings[0].snapshot_id", "no snapshot snap-0123456789abcdef0 in eu-west-1"},
		},
		"the name is taken": {
			func(b *bed, p *publish.Config) { b.must(b.plain()) },
			[]string{`ami_name: "matrix" is taken in eu-west-1`, "force_deregister = true", "deregister-image"},
		},
		"the old image is protected with a cool-down": {
			func(b *bed, p *publish.Config) { b.protected(true, false); p.ForceDeregister = true },
			[]string{"force_deregister", "24 hours", "disable-image-deregistration-protection"},
		},
		"the old image cools down": {
			func(b *bed, p *publish.Config) { b.protected(true, true); p.ForceDeregister = true },
			[]string{"force_deregister", "24 hours", "another ami_name"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			p := b.plain()
			p.Regions = []string{matrix.There}
			tc.config(b, &p)
			before := b.things()
			_, _, err := run(t.Context(), b.Cloud, p)
			require.Error(t, err)
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.Equal(t, before, b.things())
		})
	}
}

func (b *bed) encryptAll() {
	b.t.Helper()
	_, err := b.here().EnableEbsEncryptionByDefault(b.t.Context(), &ec2.EnableEbsEncryptionByDefaultInput{})
	require.NoError(b.t, err)
}

// protected publishes an image that is protected, or was.
func (b *bed) protected(cooldown, disabled bool) {
	b.t.Helper()
	p := b.plain()
	p.Protection = publish.ProtectionConfig{Enabled: true, WithCooldown: cooldown}
	result, _ := b.must(p)
	if disabled {
		_, err := b.here().DisableImageDeregistrationProtection(b.t.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(result.Images[matrix.Here].ImageID)})
		require.NoError(b.t, err)
	}
}

// The policy is that of the calls: a full run, one with all of the other
// options, one that fails late, and an incremental one make them all.
func TestIAMPolicyHoldsTheCallsOfARun(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	require.NoError(t, unblock(ctx, b.Cloud))
	require.NoError(t, seed(ctx, b.Cloud))
	_, err := b.f.S3(matrix.Here).CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: aws.String("manifests"), CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: matrix.Here},
	})
	require.NoError(t, err)
	setUp := b.Calls()
	whole := full(b.Cloud)
	whole.BlockManifest = "s3://manifests/x.blocks"
	b.must(whole)
	whole.AMIName = "incremental"
	_, told := b.must(whole)
	require.NotContains(t, told, "full one")
	public := open(b.Cloud)
	public.AMIName, public.SSMParameter = "open", "/images/new"
	b.must(public)
	keyless := b.plain()
	keyless.AMIName, keyless.EncryptBoot = "default key", config.TriTrue
	b.must(keyless)
	keyless.AMIName = "default key again"
	_, told = b.must(keyless)
	require.NotContains(t, told, "full one")
	failing := b.plain()
	failing.AMIName, failing.SSMParameter, failing.Incremental = "failing", "/images/failing", config.TriFalse
	p, disk := b.publisher(failing)
	p.BeforeCommit = func(context.Context, *publish.Result) error { return context.DeadlineExceeded }
	_, err = p.Disk(ctx, disk)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	var made []string
	for name, n := range b.Calls() {
		if n > setUp[name] && name != "sts:GetCallerIdentity" {
			made = append(made, name)
		}
	}
	want := publish.IAMActions()
	for _, name := range made {
		require.Contains(t, want, name)
	}
	for _, name := range want {
		switch name {
		case "ebs:ListSnapshotBlocks", "ebs:GetSnapshotBlock", // to read a parent back that has no manifest
			"ec2:CreateTags": // for tags given at creation, and of a snapshot that is resumed
		default:
			require.Contains(t, made, name)
		}
	}
}

// publisher is a Publisher with a disk.
func (b *bed) publisher(c publish.Config) (*publish.Publisher, string) {
	b.t.Helper()
	require.Empty(b.t, c.PrepareDisk())
	disk := b.Dir + "/disk.raw"
	require.NoError(b.t, tinyDisk(disk))
	p, err := publish.New(b.f, c, &told{})
	require.NoError(b.t, err)
	return p, disk
}
