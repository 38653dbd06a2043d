// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
)

// share adds a launch permission.
func (c *cloud) share(ami string, who types.LaunchPermission) error {
	return second(c.ec2.ModifyImageAttribute(c.t.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &ami, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{who}},
	}))
}

func TestSharingImages(t *testing.T) {
	c := start(t, quiet(t))
	ctx := t.Context()
	ami, _ := c.image("shared")
	everybody := types.LaunchPermission{Group: types.PermissionGroupAll}
	friend := types.LaunchPermission{UserId: aws.String("111111111111")}
	org := types.LaunchPermission{OrganizationArn: aws.String("arn:aws:organizations::111111111111:organization/o-abcdefghij")}
	ou := types.LaunchPermission{OrganizationalUnitArn: aws.String("arn:aws:organizations::111111111111:ou/o-abcdefghij/ou-abcd-12345678")}

	state, err := c.ec2.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
	require.NoError(t, err)
	require.Equal(t, "block-new-sharing account", *state.ImageBlockPublicAccessState+" "+string(state.ManagedBy))
	require.Equal(t, "OperationNotPermitted", codeOf(t, c.share(ami, everybody)))
	require.NoError(t, second(c.ec2.DisableImageBlockPublicAccess(ctx, &ec2.DisableImageBlockPublicAccessInput{})))
	for _, who := range []types.LaunchPermission{everybody, friend, friend, org, ou} {
		require.NoError(t, c.share(ami, who))
	}
	permissions := func() []types.LaunchPermission {
		out, err := c.ec2.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &ami, Attribute: "launchPermission"})
		require.NoError(t, err)
		return out.LaunchPermissions
	}
	require.Equal(t, []types.LaunchPermission{everybody, friend, org, ou}, permissions())
	img := c.shown(c.ec2, ami)
	require.True(t, *img.Public)
	require.NotEmpty(t, *img.DeprecationTime, "AWS deprecates public images")
	for user, want := range map[string]int{"self": 0, "all": 1, "111111111111": 1, "222222222222": 0} {
		out, err := c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ExecutableUsers: []string{user}})
		require.NoError(t, err)
		require.Len(t, out.Images, want, user)
	}
	// The other form, and blocking again: what is shared stays shared.
	require.NoError(t, second(c.ec2.EnableImageBlockPublicAccess(ctx, &ec2.EnableImageBlockPublicAccessInput{ImageBlockPublicAccessState: "block-new-sharing"})))
	require.NoError(t, second(c.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
		ImageId: &ami, Attribute: aws.String("launchPermission"), OperationType: "remove", UserIds: []string{"111111111111"}, OrganizationArns: []string{*org.OrganizationArn},
	})))
	require.Equal(t, []types.LaunchPermission{everybody, ou}, permissions())
	require.NoError(t, second(c.ec2.ResetImageAttribute(ctx, &ec2.ResetImageAttributeInput{ImageId: &ami, Attribute: "launchPermission"})))
	require.Empty(t, permissions())

	for name, who := range map[string]types.LaunchPermission{
		"user": {UserId: aws.String("12")}, "group": {Group: "some"}, "org": {OrganizationArn: aws.String("o-1")}, "ou": {OrganizationalUnitArn: org.OrganizationArn},
	} {
		require.Equal(t, "InvalidAMIAttributeItemValue", codeOf(t, c.share(ami, who)), name)
	}
	require.Equal(t, "InvalidParameterCombination", codeOf(t, c.share(ami, types.LaunchPermission{})))
	require.NoError(t, second(c.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: &ami, Description: &types.AttributeValue{Value: aws.String("new")}})))
	require.NoError(t, second(c.ec2.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: &ami, ImdsSupport: &types.AttributeValue{Value: aws.String("v2.0")}})))
	img = c.shown(c.ec2, ami)
	require.Equal(t, "new v2.0", *img.Description+" "+string(img.ImdsSupport))
}

func TestEncryptedImagesAreNotShared(t *testing.T) {
	c := start(t, quiet(t))
	ctx := t.Context()
	require.NoError(t, second(c.ec2.DisableImageBlockPublicAccess(ctx, &ec2.DisableImageBlockPublicAccessInput{})))
	ami, _ := c.image("clear")
	encrypt := func(name string, key *string) (image, snap string) {
		in := copyOf(ami, name)
		in.Encrypted, in.KmsKeyId = aws.Bool(true), key
		out, err := c.ec2.CopyImage(ctx, in)
		require.NoError(t, err)
		return *out.ImageId, *c.shown(c.ec2, *out.ImageId).BlockDeviceMappings[0].Ebs.SnapshotId
	}
	managed, managedSnap := encrypt("managed", nil)
	own, ownSnap := encrypt("own", aws.String(ownKey))
	friend := types.LaunchPermission{UserId: aws.String("111111111111")}
	everybody := types.LaunchPermission{Group: types.PermissionGroupAll}
	require.Equal(t, "InvalidParameter", codeOf(t, c.share(managed, friend)))
	require.NoError(t, c.share(own, friend))
	require.Equal(t, "UnsupportedOperation", codeOf(t, c.share(own, everybody)))

	snapshot := func(id string, who types.CreateVolumePermission) error {
		return second(c.ec2.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &id, Attribute: "createVolumePermission", CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{who}},
		}))
	}
	friendly := types.CreateVolumePermission{UserId: friend.UserId}
	public := types.CreateVolumePermission{Group: types.PermissionGroupAll}
	require.Equal(t, "OperationNotPermitted", codeOf(t, snapshot(managedSnap, friendly)))
	require.NoError(t, snapshot(ownSnap, friendly))
	require.Equal(t, "OperationNotPermitted", codeOf(t, snapshot(ownSnap, public)))
	clearSnap := c.snapshot("", map[int32]byte{0: 1})
	require.NoError(t, second(c.ec2.EnableSnapshotBlockPublicAccess(ctx, &ec2.EnableSnapshotBlockPublicAccessInput{State: "block-all-sharing"})))
	require.Equal(t, "OperationNotPermitted", codeOf(t, snapshot(clearSnap, public)))
	require.NoError(t, second(c.ec2.DisableSnapshotBlockPublicAccess(ctx, &ec2.DisableSnapshotBlockPublicAccessInput{})))
	require.NoError(t, snapshot(clearSnap, public))
	got, err := c.ec2.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: &clearSnap, Attribute: "createVolumePermission"})
	require.NoError(t, err)
	require.Equal(t, []types.CreateVolumePermission{public}, got.CreateVolumePermissions)
	restorable, err := c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{RestorableByUserIds: []string{"111111111111"}})
	require.NoError(t, err)
	require.Len(t, restorable.Snapshots, 1)
	require.Equal(t, ownSnap, *restorable.Snapshots[0].SnapshotId)
	require.NoError(t, second(c.ec2.ResetSnapshotAttribute(ctx, &ec2.ResetSnapshotAttributeInput{SnapshotId: &clearSnap, Attribute: "createVolumePermission"})))
}
