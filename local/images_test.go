// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/kms"
)

const (
	elsewhere = "us-west-2"
	account   = DefaultAccount
	ownKey    = "1234abcd-12ab-34cd-56ef-1234567890ab"
)

// shown is an image as DescribeImages shows it.
func (c *cloud) shown(client *ec2.Client, id string) types.Image {
	c.t.Helper()
	out, err := client.DescribeImages(c.t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDisabled: aws.Bool(true)})
	require.NoError(c.t, err)
	require.Len(c.t, out.Images, 1)
	return out.Images[0]
}

func (c *cloud) shownSnapshot(client *ec2.Client, id string) types.Snapshot {
	c.t.Helper()
	out, err := client.DescribeSnapshots(c.t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	require.NoError(c.t, err)
	return out.Snapshots[0]
}

func tagged(kind types.ResourceType, key, value string) types.TagSpecification {
	return types.TagSpecification{ResourceType: kind, Tags: []types.Tag{{Key: &key, Value: &value}}}
}

func copyOf(ami, name string) *ec2.CopyImageInput {
	return &ec2.CopyImageInput{Name: &name, SourceImageId: &ami, SourceRegion: aws.String(region)}
}

func TestCopyImage(t *testing.T) {
	cfg := quiet(t)
	cfg.Settle = 150 * time.Millisecond
	c := start(t, cfg)
	snap := c.snapshot("", map[int32]byte{0: 1, 7: 2})
	time.Sleep(cfg.Settle)
	in := registration("source", snap)
	in.Description, in.BootMode, in.TpmSupport = aws.String("as it was"), types.BootModeValuesUefi, types.TpmSupportValuesV20
	in.UefiData = aws.String("QU1aTlVFRkk=")
	in.TagSpecifications = []types.TagSpecification{tagged("image", "os", "debian")}
	made, err := c.ec2.RegisterImage(t.Context(), in)
	require.NoError(t, err)
	there, thereEBS := c.clients(elsewhere, "k", "s")
	require.Equal(t, types.ImageStatePending, c.shown(c.ec2, *made.ImageId).State)
	_, err = there.CopyImage(t.Context(), copyOf(*made.ImageId, "copy"))
	require.Equal(t, "InvalidAMIID.Unavailable", codeOf(t, err), "a pending image cannot be copied")
	time.Sleep(cfg.Settle)

	req := copyOf(*made.ImageId, "copy")
	req.ClientToken, req.CopyImageTags = aws.String("once"), aws.Bool(true)
	req.TagSpecifications = []types.TagSpecification{tagged("image", "region", elsewhere), tagged("snapshot", "of", "copy")}
	copied, err := there.CopyImage(t.Context(), req)
	require.NoError(t, err)
	again, err := there.CopyImage(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, *copied.ImageId, *again.ImageId, "the token makes it the same call")
	other := *req
	other.Name = aws.String("other")
	require.Equal(t, "IdempotentParameterMismatch", codeOf(t, second(there.CopyImage(t.Context(), &other))))

	img := c.shown(there, *copied.ImageId)
	require.Equal(t, types.ImageStatePending, img.State)
	target := *img.BlockDeviceMappings[0].Ebs.SnapshotId
	require.Equal(t, types.SnapshotStatePending, c.shownSnapshot(there, target).State)
	require.NoError(t, ec2.NewImageAvailableWaiter(there, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay = 20 * time.Millisecond }).
		Wait(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*copied.ImageId}}, time.Minute))
	img = c.shown(there, *copied.ImageId)
	require.Equal(t, "as it was", *img.Description)
	require.Equal(t, types.BootModeValuesUefi, img.BootMode)
	require.Equal(t, types.TpmSupportValuesV20, img.TpmSupport)
	require.Equal(t, *made.ImageId+" "+region, *img.SourceImageId+" "+*img.SourceImageRegion)
	require.Equal(t, []types.Tag{{Key: aws.String("os"), Value: aws.String("debian")}, {Key: aws.String("region"), Value: aws.String(elsewhere)}}, img.Tags)
	uefi, err := there.DescribeImageAttribute(t.Context(), &ec2.DescribeImageAttributeInput{ImageId: copied.ImageId, Attribute: "uefiData"})
	require.NoError(t, err)
	require.Equal(t, *in.UefiData, *uefi.UefiData.Value)

	got := c.shownSnapshot(there, target)
	require.Equal(t, types.SnapshotStateCompleted, got.State)
	require.Equal(t, "copy", *got.Tags[0].Value)
	require.Contains(t, *got.Description, "from SourceAmi "+*made.ImageId)
	// The source may go: the copy has data of its own, on disk links to the same.
	require.NoError(t, second(c.ec2.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: made.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})))
	blocks, err := thereEBS.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &target})
	require.NoError(t, err)
	require.Len(t, blocks.Blocks, 2)
	data, err := thereEBS.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &target, BlockIndex: aws.Int32(7), BlockToken: blocks.Blocks[1].BlockToken})
	require.NoError(t, err)
	want, _ := block(2)
	have, err := io.ReadAll(data.BlockData)
	require.NoError(t, err)
	require.Equal(t, want, have)
}

func TestCopyImageRefusals(t *testing.T) {
	c := start(t, quiet(t))
	ami, snap := c.image("taken")
	there, _ := c.clients(elsewhere, "k", "s")
	tried := func(tweak func(*ec2.CopyImageInput)) error {
		in := copyOf(ami, "free")
		tweak(in)
		return second(there.CopyImage(t.Context(), in))
	}
	require.NoError(t, second(there.CopyImage(t.Context(), copyOf(ami, "taken there"))))
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"duplicate":      {tried(func(in *ec2.CopyImageInput) { in.Name = aws.String("taken there") }), "InvalidAMIName.Duplicate"},
		"malformed name": {tried(func(in *ec2.CopyImageInput) { in.Name = aws.String("*") }), "InvalidAMIName.Malformed"},
		"no image":       {tried(func(in *ec2.CopyImageInput) { in.SourceImageId = aws.String("ami-00000000000000000") }), "InvalidAMIID.NotFound"},
		"bad id":         {tried(func(in *ec2.CopyImageInput) { in.SourceImageId = &snap }), "InvalidAMIID.Malformed"},
		"no region":      {tried(func(in *ec2.CopyImageInput) { in.SourceRegion = aws.String("moon-1") }), "InvalidRegion"},
		"other region":   {tried(func(in *ec2.CopyImageInput) { in.SourceRegion = aws.String("eu-west-2") }), "InvalidAMIID.NotFound"},
		"key":            {tried(func(in *ec2.CopyImageInput) { in.KmsKeyId = aws.String(ownKey) }), "InvalidParameterDependency"},
		"outpost": {tried(func(in *ec2.CopyImageInput) {
			in.DestinationOutpostArn = aws.String("arn:aws:outposts:us-west-2:1:outpost/x")
		}), "UnsupportedOperation"},
		"dry": {tried(func(in *ec2.CopyImageInput) { in.DryRun = aws.Bool(true) }), "DryRunOperation"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, codeOf(t, tc.err)) })
	}
}

func TestCopySnapshot(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	snap := c.snapshot("", map[int32]byte{3: 9})
	there, _ := c.clients(elsewhere, "k", "s")
	in := &ec2.CopySnapshotInput{
		SourceSnapshotId: &snap, SourceRegion: aws.String(region), Description: aws.String("moved"),
		Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/right"), TagSpecifications: []types.TagSpecification{tagged("snapshot", "a", "b")},
	}
	out, err := there.CopySnapshot(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, "b", *out.Tags[0].Value)
	got := c.shownSnapshot(there, *out.SnapshotId)
	key, _ := kms.Resolve(elsewhere, account, "alias/right")
	require.True(t, *got.Encrypted)
	require.Equal(t, key, *got.KmsKeyId)
	require.Equal(t, "moved", *got.Description)

	// Back again it is encrypted with the default key there, and cannot be in the clear.
	back := &ec2.CopySnapshotInput{SourceSnapshotId: out.SnapshotId, SourceRegion: aws.String(elsewhere)}
	home, err := c.ec2.CopySnapshot(t.Context(), back)
	require.NoError(t, err)
	require.Equal(t, kms.Managed(region, account), *c.shownSnapshot(c.ec2, *home.SnapshotId).KmsKeyId)
	back.Encrypted = aws.Bool(false)
	require.Equal(t, "InvalidRequest", codeOf(t, second(c.ec2.CopySnapshot(t.Context(), back))))

	in.KmsKeyId = aws.String("arn:aws:kms:" + region + ":" + account + ":key/" + ownKey)
	failed, err := there.CopySnapshot(t.Context(), in)
	require.NoError(t, err, "AWS looks at the key later")
	got = c.shownSnapshot(there, *failed.SnapshotId)
	require.Equal(t, types.SnapshotStateError, got.State)
	require.Contains(t, *got.StateMessage, "key")
	require.Equal(t, "InvalidSnapshot.NotFound", codeOf(t, second(c.ec2.CopySnapshot(t.Context(), &ec2.CopySnapshotInput{SourceSnapshotId: &snap, SourceRegion: aws.String(elsewhere)}))))

	// Copies share their data on disk.
	var same []os.FileInfo
	for where, id := range map[string]string{region: snap, elsewhere: *out.SnapshotId} {
		info, err := os.Stat(filepath.Join(cfg.StateDir, "regions", where, "snapshots", id+".raw"))
		require.NoError(t, err)
		same = append(same, info)
	}
	require.True(t, os.SameFile(same[0], same[1]))
}

func TestFailedCopyOfAnImage(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("source")
	there, _ := c.clients(elsewhere, "k", "s")
	in := copyOf(ami, "copy")
	in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String("arn:aws:kms:"+region+":"+account+":key/"+ownKey)
	out, err := there.CopyImage(t.Context(), in)
	require.NoError(t, err)
	img := c.shown(there, *out.ImageId)
	require.Equal(t, types.ImageStateFailed, img.State)
	require.Contains(t, *img.StateReason.Message, "key")
	require.Equal(t, "InvalidAMIID.Unavailable", codeOf(t, second(there.RunInstances(t.Context(), launchOne(*out.ImageId)))))
	in.KmsKeyId, in.ClientToken = aws.String(ownKey), nil // the SDK has filled in the token
	out, err = there.CopyImage(t.Context(), in)
	require.NoError(t, err, "a failed image does not hold the name")
	img = c.shown(there, *out.ImageId)
	require.True(t, *img.BlockDeviceMappings[0].Ebs.Encrypted)
	require.Equal(t, "arn:aws:kms:"+elsewhere+":"+account+":key/"+ownKey, *c.shownSnapshot(there, *img.BlockDeviceMappings[0].Ebs.SnapshotId).KmsKeyId)
}

func TestImagesWithSeveralDevices(t *testing.T) {
	c := start(t, quiet(t))
	snap := c.snapshot("", map[int32]byte{0: 1})
	register := func(name string, more ...types.BlockDeviceMapping) (*ec2.RegisterImageOutput, error) {
		in := registration(name, snap)
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, more...)
		return c.ec2.RegisterImage(t.Context(), in)
	}
	device := func(ebs types.EbsBlockDevice) types.BlockDeviceMapping {
		return types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdf"), Ebs: &ebs}
	}
	out, err := register("two", device(types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "gp3", Iops: aws.Int32(4000), Throughput: aws.Int32(250), Encrypted: aws.Bool(true)}))
	require.NoError(t, err)
	data := c.shown(c.ec2, *out.ImageId).BlockDeviceMappings[1].Ebs
	require.Equal(t, "gp3 8 4000 250 true", strings.Join([]string{string(data.VolumeType), itoa(*data.VolumeSize), itoa(*data.Iops), itoa(*data.Throughput), map[bool]string{true: "true"}[*data.Encrypted]}, " "))
	for name, tc := range map[string]struct {
		device types.EbsBlockDevice
		want   string
	}{
		"blank":          {types.EbsBlockDevice{}, "InvalidBlockDeviceMapping"},
		"iops of gp2":    {types.EbsBlockDevice{VolumeSize: aws.Int32(8), Iops: aws.Int32(3000)}, "InvalidParameterCombination"},
		"throughput":     {types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "io2", Iops: aws.Int32(200), Throughput: aws.Int32(200)}, "InvalidParameterCombination"},
		"io2 no iops":    {types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "io2"}, "MissingParameter"},
		"few iops":       {types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "gp3", Iops: aws.Int32(200)}, "InvalidParameterValue"},
		"iops per GiB":   {types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "gp3", Iops: aws.Int32(9000)}, "InvalidParameterValue"},
		"fast":           {types.EbsBlockDevice{VolumeSize: aws.Int32(8), VolumeType: "gp3", Throughput: aws.Int32(1000)}, "InvalidParameterValue"},
		"encrypted snap": {types.EbsBlockDevice{SnapshotId: &snap, Encrypted: aws.Bool(true)}, "InvalidBlockDeviceMapping"},
		"small":          {types.EbsBlockDevice{SnapshotId: aws.String("snap-00000000000000000")}, "InvalidSnapshot.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, codeOf(t, second(register("x "+name, device(tc.device)))))
		})
	}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
