// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (c *cloud) volume(id string) ec2types.Volume {
	c.t.Helper()
	out, err := c.ec2.DescribeVolumes(c.t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	require.NoError(c.t, err)
	return out.Volumes[0]
}

func (c *cloud) newVolume(in *ec2.CreateVolumeInput) string {
	c.t.Helper()
	in.AvailabilityZone = aws.String(region + "a")
	out, err := c.ec2.CreateVolume(c.t.Context(), in)
	require.NoError(c.t, err)
	return *out.VolumeId
}

// running launches an instance with a second volume.
func (c *cloud) running(ami string) ec2types.Instance {
	c.t.Helper()
	in := launchOne(ami)
	in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(2), VolumeType: "gp3", DeleteOnTermination: aws.Bool(false)}}}
	in.TagSpecifications = specOf("volume", "of", "test")
	out, err := c.ec2.RunInstances(c.t.Context(), in)
	require.NoError(c.t, err)
	return c.reaches(*out.Instances[0].InstanceId, "running")
}

func TestVolumesOfAnInstance(t *testing.T) {
	c, m := withMachines(t)
	ami, snap := c.image("disks")
	inst := c.running(ami)
	id, root, data := *inst.InstanceId, *inst.BlockDeviceMappings[0].Ebs.VolumeId, *inst.BlockDeviceMappings[1].Ebs.VolumeId
	spec := m.specs[id]
	require.Len(t, spec.Disks, 2)
	require.Equal(t, []string{root, data}, []string{spec.Disks[0].ID, spec.Disks[1].ID})
	require.FileExists(t, spec.Disks[0].Base)
	require.NoFileExists(t, spec.Disks[1].Base)
	v := c.volume(data)
	require.Equal(t, ec2types.VolumeStateInUse, v.State)
	require.Equal(t, "test", *v.Tags[0].Value)
	require.Equal(t, snap, *c.volume(root).SnapshotId)
	mine, err := c.ec2.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []ec2types.Filter{where("attachment.instance-id", id), where("attachment.delete-on-termination", "false")}})
	require.NoError(t, err)
	require.Len(t, mine.Volumes, 1)

	_, err = c.ec2.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &data})
	require.Equal(t, "VolumeInUse", codeOf(t, err))
	c.terminate(id)
	require.Equal(t, ec2types.VolumeStateAvailable, c.volume(data).State, "it was to stay")
	_, err = c.ec2.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{root}})
	require.Equal(t, "InvalidVolume.NotFound", codeOf(t, err))
	require.NoFileExists(t, spec.Disks[0].Base)
	_, err = c.ec2.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &data})
	require.NoError(t, err)
	_, err = c.ec2.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &data})
	require.Equal(t, "InvalidVolume.NotFound", codeOf(t, err))
}

func TestAttachDetachModify(t *testing.T) {
	c, m := withMachines(t)
	ami, snap := c.image("hot")
	id := *c.running(ami).InstanceId
	vol := c.newVolume(&ec2.CreateVolumeInput{SnapshotId: &snap, Size: aws.Int32(3), VolumeType: "gp3"})
	attach := &ec2.AttachVolumeInput{VolumeId: &vol, InstanceId: &id, Device: aws.String("/dev/sdf")}
	_, err := c.ec2.AttachVolume(t.Context(), attach)
	require.Equal(t, "InvalidParameterValue", codeOf(t, err), "the device is taken")
	attach.Device = aws.String("/dev/sdg")
	_, err = c.ec2.AttachVolume(t.Context(), attach)
	require.NoError(t, err)
	_, err = c.ec2.AttachVolume(t.Context(), attach)
	require.Equal(t, "VolumeInUse", codeOf(t, err))
	require.Len(t, c.instance(id).BlockDeviceMappings, 3)

	_, err = c.ec2.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &vol, Size: aws.Int32(2)})
	require.Equal(t, "InvalidParameterValue", codeOf(t, err), "smaller")
	_, err = c.ec2.ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: &vol, Size: aws.Int32(5)})
	require.NoError(t, err)
	mods, err := c.ec2.DescribeVolumesModifications(t.Context(), &ec2.DescribeVolumesModificationsInput{VolumeIds: []string{vol}})
	require.NoError(t, err)
	require.Equal(t, []int32{3, 5}, []int32{*mods.VolumesModifications[0].OriginalSize, *mods.VolumesModifications[0].TargetSize})

	detach := &ec2.DetachVolumeInput{VolumeId: &vol}
	_, err = c.ec2.DetachVolume(t.Context(), detach)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.volume(vol).State == ec2types.VolumeStateAvailable }, 5*time.Second, 5*time.Millisecond)
	require.Len(t, c.instance(id).BlockDeviceMappings, 2)
	_, err = c.ec2.DetachVolume(t.Context(), detach)
	require.Equal(t, "IncorrectState", codeOf(t, err))
	require.Equal(t, []string{"start", "plug " + vol, "resize " + vol + " 5", "unplug " + vol}, m.made())
	root := c.instance(id).BlockDeviceMappings[0].Ebs.VolumeId
	_, err = c.ec2.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: root})
	require.Equal(t, "OperationNotPermitted", codeOf(t, err))
}

func (c *cloud) imageBecomes(id string, state ec2types.ImageState) ec2types.Image {
	c.t.Helper()
	var img ec2types.Image
	require.Eventually(c.t, func() bool {
		out, err := c.ec2.DescribeImages(c.t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
		require.NoError(c.t, err)
		img = out.Images[0]
		return img.State == state
	}, 5*time.Second, 5*time.Millisecond)
	return img
}

func TestCreateImage(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("before")
	inst := c.running(ami)
	id := inst.InstanceId
	// What the guest has written: the fake puts it into the second block.
	written, _ := block(7)
	require.NoError(t, os.WriteFile(m.specs[*id].Disks[0].Path, written, 0o600))
	in := &ec2.CreateImageInput{InstanceId: id, Name: aws.String("after"), TagSpecifications: append(specOf("image", "a", "1"), specOf("snapshot", "b", "2")...),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeType: "gp3", VolumeSize: aws.Int32(8)}},
			{DeviceName: aws.String("/dev/sdz"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(1)}},
			{DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0")},
		}}
	out, err := c.ec2.CreateImage(t.Context(), in)
	require.NoError(t, err)
	img := c.imageBecomes(*out.ImageId, ec2types.ImageStateAvailable)
	require.Equal(t, *id, *img.SourceInstanceId)
	require.Len(t, img.BlockDeviceMappings, 4)
	root := img.BlockDeviceMappings[0].Ebs
	require.Equal(t, int32(8), *root.VolumeSize)
	require.Nil(t, img.BlockDeviceMappings[2].Ebs.SnapshotId)
	snaps, err := c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*root.SnapshotId}})
	require.NoError(t, err)
	require.Equal(t, ec2types.SnapshotStateCompleted, snaps.Snapshots[0].State)
	require.Equal(t, "b=2", *snaps.Snapshots[0].Tags[0].Key+"="+*snaps.Snapshots[0].Tags[0].Value)
	blocks, err := c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: root.SnapshotId})
	require.NoError(t, err)
	require.Len(t, blocks.Blocks, 1)
	require.Equal(t, int32(1), *blocks.Blocks[0].BlockIndex)
	got, err := c.ebs.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: root.SnapshotId, BlockIndex: aws.Int32(1), BlockToken: blocks.Blocks[0].BlockToken})
	require.NoError(t, err)
	_, sum := block(7)
	require.Equal(t, sum, *got.Checksum)
	require.NoError(t, got.BlockData.Close())
	require.Equal(t, []string{"start", "stop 4m0s", "convert", "start"}, m.made(), "a running guest is rebooted")
	require.Equal(t, ec2types.InstanceStateNameRunning, c.instance(*id).State.Name)

	_, err = c.ec2.CreateImage(t.Context(), in)
	require.Equal(t, "InvalidAMIName.Duplicate", codeOf(t, err))
	in.Name, in.NoReboot = aws.String("as it is"), aws.Bool(true)
	in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), NoDevice: aws.String("")}}
	out, err = c.ec2.CreateImage(t.Context(), in)
	require.NoError(t, err)
	c.imageBecomes(*out.ImageId, ec2types.ImageStateAvailable)
	require.Equal(t, []string{"freeze", "convert"}, m.made()[4:])
	relaunched := launchOne(*out.ImageId)
	_, err = c.ec2.RunInstances(t.Context(), relaunched)
	require.NoError(t, err)
	c.terminate(*id)
	_, err = c.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: id, Name: aws.String("late")})
	require.Equal(t, "InvalidParameterValue", codeOf(t, err))
}

func TestCreateImageThatBreaks(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("fine")
	inst := c.running(ami)
	// A disk that cannot be read.
	require.NoError(t, os.Mkdir(m.specs[*inst.InstanceId].Disks[1].Path, 0o700))
	out, err := c.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: inst.InstanceId, Name: aws.String("broken"), NoReboot: aws.Bool(true)})
	require.NoError(t, err)
	img := c.imageBecomes(*out.ImageId, ec2types.ImageStateFailed)
	require.Contains(t, *img.StateReason.Message, "is a directory")
	snap, err := c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*img.BlockDeviceMappings[1].Ebs.SnapshotId}})
	require.NoError(t, err)
	require.Equal(t, ec2types.SnapshotStateError, snap.Snapshots[0].State)
}

func TestCreateSnapshots(t *testing.T) {
	c := start(t, quiet(t)) // without machines: volumes hold what their snapshots did
	ami, snap := c.image("record")
	inst := c.running(ami)
	out, err := c.ec2.CreateSnapshots(t.Context(), &ec2.CreateSnapshotsInput{
		InstanceSpecification: &ec2types.InstanceSpecification{InstanceId: inst.InstanceId}, CopyTagsFromSource: "volume", TagSpecifications: specOf("snapshot", "x", "y")})
	require.NoError(t, err)
	require.Len(t, out.Snapshots, 2)
	require.Len(t, out.Snapshots[0].Tags, 2)
	one, err := c.ec2.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: inst.BlockDeviceMappings[0].Ebs.VolumeId, Description: aws.String("one")})
	require.NoError(t, err)
	require.Equal(t, ec2types.SnapshotStatePending, one.State)
	want := c.rawOf(snap)
	for _, id := range []string{*out.Snapshots[0].SnapshotId, *one.SnapshotId} {
		require.NoError(t, ec2.NewSnapshotCompletedWaiter(c.ec2, func(o *ec2.SnapshotCompletedWaiterOptions) {
			o.MinDelay, o.MaxDelay = time.Millisecond, time.Millisecond
		}).
			Wait(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}, 5*time.Second))
		require.Equal(t, want, c.rawOf(id))
	}
}

// rawOf is the first two blocks of a snapshot.
func (c *cloud) rawOf(id string) []byte {
	c.t.Helper()
	f, err := os.Open(c.store.RawPath(region, id))
	require.NoError(c.t, err)
	defer func() { _ = f.Close() }()
	buf := make([]byte, 2*store.BlockSize)
	_, err = f.ReadAt(buf, 0)
	require.NoError(c.t, err)
	return buf
}

func TestSnapshotsThatTheServerDidNotFinish(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	snap := store.Snapshot{ID: "snap-1", VolumeID: "vol-1", SizeGiB: 1, StartTime: time.Now(), Timeout: time.Hour}
	img := store.Image{ID: "ami-1", Name: "cut off", ReadyAt: store.Unknown()}
	require.NoError(t, c.store.Update(region, func(r *store.Region) error {
		if err := c.store.CreateSnapshot(r, snap); err != nil {
			return err
		}
		return r.Images.Put(img)
	}))
	c.stop()
	c = start(t, cfg)
	require.Equal(t, ec2types.ImageStateFailed, c.imageBecomes("ami-1", ec2types.ImageStateFailed).State)
	out, err := c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{"snap-1"}})
	require.NoError(t, err)
	require.Equal(t, ec2types.SnapshotStateError, out.Snapshots[0].State)
}

func TestEncryptedVolumes(t *testing.T) {
	c := start(t, quiet(t))
	ami, snap := c.image("plain disk")
	vol := c.newVolume(&ec2.CreateVolumeInput{SnapshotId: &snap, Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/mine")})
	key := *c.volume(vol).KmsKeyId
	require.Contains(t, key, ":key/")
	_, err := c.ec2.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), KmsKeyId: aws.String("alias/mine")})
	require.Equal(t, "InvalidParameterDependency", codeOf(t, err))
	_, err = c.ec2.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(1), VolumeType: "io2"})
	require.Equal(t, "MissingParameter", codeOf(t, err))
	made, err := c.ec2.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: &vol})
	require.NoError(t, err)
	require.True(t, *made.Encrypted)
	require.Equal(t, key, *made.KmsKeyId)

	// The launch encrypts the root volume, and the image of it stays so.
	in := launchOne(ami)
	in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/mine")}}}
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	inst := c.reaches(*out.Instances[0].InstanceId, "running")
	root := c.volume(*inst.BlockDeviceMappings[0].Ebs.VolumeId)
	require.True(t, *root.Encrypted)
	image, err := c.ec2.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: inst.InstanceId, Name: aws.String("encrypted")})
	require.NoError(t, err)
	img := c.imageBecomes(*image.ImageId, ec2types.ImageStateAvailable)
	require.True(t, *img.BlockDeviceMappings[0].Ebs.Encrypted)
	again, err := c.ec2.RunInstances(t.Context(), launchOne(*image.ImageId))
	require.NoError(t, err)
	inst = c.reaches(*again.Instances[0].InstanceId, "running")
	require.Equal(t, key, *c.volume(*inst.BlockDeviceMappings[0].Ebs.VolumeId).KmsKeyId, "with the key of its snapshot")
}
