// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

// texts are the names of what is there, by kind.
func texts(things []matrix.Thing, kind string) (out []string) {
	for _, t := range things {
		if t.Kind == kind {
			name, _, _ := strings.Cut(t.Text, " ")
			out = append(out, name)
		}
	}
	return out
}

// The new image is there in all regions before the old one goes anywhere.
func TestOldImageGoesWhenTheNewOneIsEverywhere(t *testing.T) {
	b := newBed(t)
	require.NoError(t, seed(t.Context(), b.Cloud))
	before := b.things()
	_, err := b.Faults().Add(fault.Rule{Action: "CopyImage", Kind: fault.Deny})
	require.NoError(t, err)
	calls := b.Calls()["ec2:DisableImageDeregistrationProtection"]
	_, _, err = run(t.Context(), b.Cloud, full(b.Cloud))
	require.ErrorContains(t, err, "copy image")
	require.Equal(t, calls, b.Calls()["ec2:DisableImageDeregistrationProtection"], "the old image was not touched")
	require.Equal(t, before, b.things())
	b.Faults().Remove("")
	result, told := b.must(full(b.Cloud))
	require.Empty(t, result.Left)
	require.NoError(t, whole(full)(t.Context(), b.Cloud))
	require.Contains(t, told, "gives the name")
	require.Equal(t, result.ID(), fmt.Sprintf("%s:%s,%s:%s", matrix.Here, result.Images[matrix.Here].ImageID, matrix.There, result.Images[matrix.There].ImageID))
	file, err := catalogue.Read(filepath.Join(b.Dir, "catalogue.json"))
	require.NoError(t, err)
	newest, ok := file.Newest("matrix", "x86_64", matrix.There)
	require.True(t, ok)
	require.Equal(t, result.Images[matrix.There].ImageID, newest.Images[matrix.There].ImageID)
	require.True(t, newest.Images[matrix.There].Encrypted)
	require.NotEmpty(t, newest.Images[matrix.There].DeprecationTime)
	require.Contains(t, newest.Seconds, "copies")
	registry := result.Registry()
	require.Len(t, registry, 2)
	require.Equal(t, "aws", registry[0].ProviderName)
	require.Equal(t, "matrix", registry[0].Labels["family"])
}

// Somebody who may not remove the new image gets the old one back by the command
// that the error names.
func TestCommandThatPutsTheOldImageBack(t *testing.T) {
	b := newBed(t)
	p := b.plain()
	p.Tags["It's"] = "quoted"
	b.must(p)
	before := b.things()
	p.ForceDeregister = true
	pub, disk := b.publisher(p)
	pub.BeforeCommit = func(context.Context, *publish.Result) error {
		_, err := b.Faults().Add(fault.Rule{Action: "RegisterImage", Kind: fault.Deny})
		return errors.Join(errors.New("no"), err)
	}
	_, err := pub.Disk(t.Context(), disk)
	var left *ledger.LeftoverError
	require.ErrorAs(t, err, &left)
	require.Len(t, left.Debts, 1)
	require.Empty(t, texts(b.things(), "image"))
	b.Faults().Remove("")
	runRemedy(t, left.Debts[0].Remedy)
	require.Equal(t, texts(before, "image"), texts(b.things(), "image"))
	require.Equal(t, before[0].Text, b.things()[0].Text)
}

// The newest of a family and architecture stay, and what others need.
func TestRetentionKeepsWhatItShould(t *testing.T) {
	b := newBed(t)
	ctx := t.Context()
	publishAs := func(name, family, arch string, protect bool, keep int) (*publish.Result, string) {
		p := b.plain()
		p.AMIName, p.Family, p.AMIArchitecture, p.Protection.Enabled, p.KeepNewest = name, family, arch, protect, keep
		p.BootMode, p.TpmSupport = "uefi", ""
		return b.must(p)
	}
	publishAs("other family", "others", "x86_64", false, 0)
	publishAs("other architecture", "web", "arm64", false, 0)
	publishAs("protected", "web", "x86_64", true, 0)
	shared, _ := publishAs("shares its snapshot", "web", "x86_64", false, 0)
	publishAs("too old", "web", "x86_64", false, 0)
	publishAs("second newest", "web", "x86_64", false, 0)
	snapshot := shared.Images[matrix.Here].SnapshotIDs[0]
	_, err := b.here().RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: aws.String("somebody else's"), RootDeviceName: aws.String("/dev/xvda"), Architecture: "x86_64", VirtualizationType: aws.String("hvm"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: aws.String(snapshot)}}},
	})
	require.NoError(t, err)
	result, said := publishAs("newest", "web", "x86_64", false, 2)
	require.Empty(t, result.Left)
	require.Contains(t, said, "too many, but protected: it stays")
	require.Contains(t, said, "snapshot "+snapshot+" of "+shared.Images[matrix.Here].ImageID+" stays")
	images, err := b.here().DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	var names []string
	for _, i := range images.Images {
		names = append(names, *i.Name)
	}
	require.ElementsMatch(t, []string{"other family", "other architecture", "protected", "somebody else's", "second newest", "newest"}, names)
	require.Len(t, texts(b.things(), "snapshot"), 6, "that of the oldest went, the shared one stays")
}

// A machine's image is made by the caller; when it has to be encrypted it is
// only there to be copied.
func TestImageOfAMachine(t *testing.T) {
	for name, tc := range map[string]struct {
		config func(p *publish.Config)
		replac bool
	}{
		"kept as it is": {func(*publish.Config) {}, false},
		"encrypted": {func(p *publish.Config) {
			p.KmsKeyID, p.RegionKmsKeyIDs = aKey, map[string]string{matrix.There: another}
		}, false},
		"encrypted and replaced": {func(p *publish.Config) {
			p.KmsKeyID, p.RegionKmsKeyIDs = aKey, map[string]string{matrix.There: another}
		}, true},
		"replaced": {func(*publish.Config) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			ctx := t.Context()
			source := b.plain()
			source.AMIName, source.Tags = "source", nil
			made, _ := b.must(source)
			p := full(b.Cloud)
			p.BootMode, p.TpmSupport, p.EncryptionConfig, p.Family, p.KeepNewest = "", "", publish.EncryptionConfig{}, "", 0
			tc.config(&p)
			if tc.replac {
				old := b.plain()
				old.Regions, old.AMIName = []string{matrix.There}, p.AMIName
				b.must(old)
			}
			require.Empty(t, p.PrepareImage())
			pub, err := publish.New(b.f, p, &told{})
			require.NoError(t, err)
			result, err := pub.Image(ctx, func(ctx context.Context, _ *ledger.Ledger, in publish.NewImage) (string, error) {
				out, err := b.f.EC2(in.Region).CopyImage(ctx, &ec2.CopyImageInput{
					Name: &in.Name, SourceImageId: aws.String(made.Images[matrix.Here].ImageID), SourceRegion: aws.String(matrix.Here),
					TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: in.ImageTags}, {ResourceType: types.ResourceTypeSnapshot, Tags: in.SnapshotTags}},
				})
				return aws.ToString(out.ImageId), err
			})
			require.NoError(t, err)
			require.Empty(t, result.Left)
			require.NoError(t, made.Destroy(ctx, b.f))
			require.NoError(t, wholeMachine(ctx, b, p))
			require.NoError(t, result.Destroy(ctx, b.f))
			require.Empty(t, texts(b.things(), "image"))
			require.Empty(t, texts(b.things(), "snapshot"))
		})
	}
}

// wholeMachine reads both regions back.
func wholeMachine(ctx context.Context, b *bed, p publish.Config) error {
	p.BootMode, p.TpmSupport = "uefi", "v2.0"
	return errors.Join(wholeRegion(ctx, b.f, matrix.Here, p), wholeRegion(ctx, b.f, matrix.There, p))
}

// What was just made may be unknown for a while, to any of the calls.
func TestNewThingsThatAreNotSeenYet(t *testing.T) {
	b := newBed(t)
	require.NoError(t, unblock(t.Context(), b.Cloud))
	_, err := b.Faults().Add(fault.Rule{Action: "*", Kind: fault.Unseen, Times: 2})
	require.NoError(t, err)
	for name, p := range map[string]publish.Config{"copied": full(b.Cloud), "uploaded": open(b.Cloud)} {
		p.AMIName, p.ForceDeregister, p.ForceDeleteSnapshot, p.Family, p.KeepNewest = name, false, false, "", 0
		result, _ := b.must(p)
		require.Len(t, result.Images, 2)
	}
}
