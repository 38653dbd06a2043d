// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
)

func TestImageRoundTrip(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	snap := c.snapshot("", map[int32]byte{0: 1})
	in := registration("my image (1.0) [x]/y", snap)
	in.Description = aws.String("An image & more <b>")
	in.BootMode, in.ImdsSupport = ec2types.BootModeValuesLegacyBios, ec2types.ImdsSupportValuesV20
	in.BlockDeviceMappings[0].Ebs.VolumeSize = aws.Int32(3)
	in.BlockDeviceMappings[0].Ebs.VolumeType = ec2types.VolumeTypeGp3
	in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeImage, Tags: []ec2types.Tag{{Key: aws.String("os"), Value: aws.String("debian")}}}}
	out, err := c.ec2.RegisterImage(t.Context(), in)
	require.NoError(t, err)

	check := func(c *cloud) {
		got, err := c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}, ImageIds: []string{*out.ImageId}})
		require.NoError(t, err)
		require.Len(t, got.Images, 1)
		img := got.Images[0]
		require.Equal(t, *in.Name, *img.Name)
		require.Equal(t, *in.Description, *img.Description)
		require.Equal(t, ec2types.ImageStateAvailable, img.State)
		require.Equal(t, ec2types.BootModeValuesLegacyBios, img.BootMode)
		require.Equal(t, ec2types.ImdsSupportValuesV20, img.ImdsSupport)
		require.Equal(t, ec2types.ArchitectureValuesX8664, img.Architecture)
		require.True(t, *img.EnaSupport)
		require.Equal(t, snap, *img.BlockDeviceMappings[0].Ebs.SnapshotId)
		require.EqualValues(t, 3, *img.BlockDeviceMappings[0].Ebs.VolumeSize)
		require.Equal(t, ec2types.VolumeTypeGp3, img.BlockDeviceMappings[0].Ebs.VolumeType)
		require.Equal(t, "debian", *img.Tags[0].Value)
	}
	check(c)
	c.stop()
	c = start(t, cfg)
	check(c)

	_, err = c.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
	require.Equal(t, "InvalidSnapshot.InUse", codeOf(t, err))
	dereg, err := c.ec2.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: out.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
	require.NoError(t, err)
	require.Equal(t, snap, *dereg.DeleteSnapshotResults[0].SnapshotId)
	_, err = c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snap}})
	require.Equal(t, "InvalidSnapshot.NotFound", codeOf(t, err))
}

func TestRegionsAreApart(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("here")
	elsewhere, _ := c.clients("us-west-2", "k", "s")
	_, err := elsewhere.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	require.Equal(t, "InvalidAMIID.NotFound", codeOf(t, err))
	nowhere, _ := c.clients("moon-1", "k", "s")
	_, err = nowhere.DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	require.Equal(t, "AuthFailure", codeOf(t, err))
	regions, err := c.ec2.DescribeRegions(t.Context(), &ec2.DescribeRegionsInput{RegionNames: []string{region}})
	require.NoError(t, err)
	require.Equal(t, "http://"+*regions.Regions[0].Endpoint, c.Info().Endpoint)
}

func TestEC2Refusals(t *testing.T) {
	c := start(t, quiet(t))
	ami, snap := c.image("taken")
	ctx := t.Context()
	register := func(tweak func(*ec2.RegisterImageInput)) error {
		in := registration("free", snap)
		tweak(in)
		return second(c.ec2.RegisterImage(ctx, in))
	}
	run := func(tweak func(*ec2.RunInstancesInput)) error {
		in := launchOne(ami)
		tweak(in)
		return second(c.ec2.RunInstances(ctx, in))
	}
	big := base64.StdEncoding.EncodeToString(make([]byte, 16385))
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"duplicate name": {register(func(in *ec2.RegisterImageInput) { in.Name = aws.String("taken") }), "InvalidAMIName.Duplicate"},
		"malformed name": {register(func(in *ec2.RegisterImageInput) { in.Name = aws.String("no*") }), "InvalidAMIName.Malformed"},
		"no name":        {register(func(in *ec2.RegisterImageInput) { in.Name = aws.String("") }), "MissingParameter"},
		"no snapshot": {register(func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings[0].Ebs.SnapshotId = aws.String("snap-00000000000000000")
		}), "InvalidSnapshot.NotFound"},
		"bad snapshot":   {register(func(in *ec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.SnapshotId = aws.String("vol-1") }), "InvalidSnapshotID.Malformed"},
		"root unmapped":  {register(func(in *ec2.RegisterImageInput) { in.RootDeviceName = aws.String("/dev/sda1") }), "InvalidBlockDeviceMapping"},
		"bad boot mode":  {register(func(in *ec2.RegisterImageInput) { in.BootMode = "grub" }), "InvalidParameterValue"},
		"unknown option": {register(func(in *ec2.RegisterImageInput) { in.KernelId = aws.String("aki-1") }), "UnsupportedOperation"},
		"wrong tag kind": {register(func(in *ec2.RegisterImageInput) {
			in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: "instance"}}
		}), "InvalidParameterValue"},
		"register dry":    {register(func(in *ec2.RegisterImageInput) { in.DryRun = aws.Bool(true) }), "DryRunOperation"},
		"no image":        {run(func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("ami-00000000000000000") }), "InvalidAMIID.NotFound"},
		"bad image id":    {run(func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("debian") }), "InvalidAMIID.Malformed"},
		"bad type":        {run(func(in *ec2.RunInstancesInput) { in.InstanceType = "t3.huge" }), "InvalidParameterValue"},
		"arm type":        {run(func(in *ec2.RunInstancesInput) { in.InstanceType = "t4g.micro" }), "InvalidParameterValue"},
		"no key":          {run(func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("none") }), "InvalidKeyPair.NotFound"},
		"user-data":       {run(func(in *ec2.RunInstancesInput) { in.UserData = aws.String("%%%") }), "InvalidUserData.Malformed"},
		"large user-data": {run(func(in *ec2.RunInstancesInput) { in.UserData = &big }), "InvalidParameterValue"},
		"ramdisk":         {run(func(in *ec2.RunInstancesInput) { in.RamdiskId = aws.String("ari-1") }), "UnsupportedOperation"},
		"counts":          {run(func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(3) }), "InvalidParameterValue"},
		"run dry":         {run(func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }), "DryRunOperation"},
		"no instance":     {second(c.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{"i-00000000000000000"}})), "InvalidInstanceID.NotFound"},
		"bad instance id": {second(c.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{"x"}})), "InvalidInstanceID.Malformed"},
		"tag nothing":     {second(c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{"foo"}, Tags: []ec2types.Tag{{Key: aws.String("a")}}})), "InvalidID"},
		"reserved tag":    {second(c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{ami}, Tags: []ec2types.Tag{{Key: aws.String("aws:a")}}})), "InvalidParameterValue"},
		"filter":          {second(c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []ec2types.Filter{{Name: aws.String("colour"), Values: []string{"red"}}}})), "InvalidParameterValue"},
		"page size":       {second(c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(2)})), "InvalidParameterValue"},
		"page token":      {second(c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{NextToken: aws.String("zz")})), "InvalidNextToken"},
		"not here":        {second(c.ec2.DescribeVpnGateways(ctx, &ec2.DescribeVpnGatewaysInput{})), "UnsupportedOperation"},
		"deregister":      {second(c.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String("ami-00000000000000000")})), "InvalidAMIID.Unavailable"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, codeOf(t, tc.err)) })
	}
	images, err := c.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{})
	require.NoError(t, err)
	require.Len(t, images.Images, 1, "a refused call changes nothing")
}

func TestFiltersAndPages(t *testing.T) {
	c := start(t, quiet(t))
	snap := c.snapshot("", map[int32]byte{0: 1})
	for i := range 7 {
		in := registration(fmt.Sprintf("img-%d", i), snap)
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: "image", Tags: []ec2types.Tag{{Key: aws.String("n"), Value: aws.String(fmt.Sprint(i % 2))}}}}
		_, err := c.ec2.RegisterImage(t.Context(), in)
		require.NoError(t, err)
	}
	count := func(filters ...string) int {
		in := &ec2.DescribeImagesInput{}
		for _, f := range filters {
			name, values, _ := strings.Cut(f, "=")
			in.Filters = append(in.Filters, ec2types.Filter{Name: &name, Values: strings.Split(values, ",")})
		}
		out, err := c.ec2.DescribeImages(t.Context(), in)
		require.NoError(t, err)
		return len(out.Images)
	}
	require.Equal(t, 7, count())
	require.Equal(t, 4, count("tag:n=0"))
	require.Equal(t, 7, count("tag-key=n", "state=available", "owner-id="+c.Info().Account))
	require.Equal(t, 2, count("name=img-1,img-2"))
	require.Equal(t, 7, count("name=img-?"))
	require.Equal(t, 1, count("name=*-3", "tag:n=1"))
	require.Equal(t, 0, count(`name=img\-\?`))
	require.Equal(t, 7, count("block-device-mapping.snapshot-id="+snap))

	var names []string
	pages := ec2.NewDescribeImagesPaginator(c.ec2, &ec2.DescribeImagesInput{MaxResults: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, img := range page.Images {
			names = append(names, *img.Name)
		}
	}
	require.Equal(t, []string{"img-0", "img-1", "img-2", "img-3", "img-4", "img-5", "img-6"}, names)
}

func TestTags(t *testing.T) {
	c := start(t, quiet(t))
	ami, snap := c.image("tagged")
	tag := func(kv ...string) (tags []ec2types.Tag) {
		for _, t := range kv {
			k, v, ok := strings.Cut(t, "=")
			one := ec2types.Tag{Key: &k}
			if ok {
				one.Value = &v
			}
			tags = append(tags, one)
		}
		return tags
	}
	create := func(tags []ec2types.Tag, ids ...string) {
		_, err := c.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: ids, Tags: tags})
		require.NoError(t, err)
	}
	remove := func(tags []ec2types.Tag, id string) {
		_, err := c.ec2.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{id}, Tags: tags})
		require.NoError(t, err)
	}
	have := func(id string) (out []string) {
		got, err := c.ec2.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []ec2types.Filter{{Name: aws.String("resource-id"), Values: []string{id}}}})
		require.NoError(t, err)
		for _, tag := range got.Tags {
			out = append(out, *tag.Key+"="+*tag.Value)
		}
		return out
	}
	create(tag("a=1", "b=<&>", "c=ü", "d="), ami, snap)
	create(tag("a=2"), snap)
	require.Equal(t, []string{"a=1", "b=<&>", "c=ü", "d="}, have(ami))
	remove(tag("a=1", "b"), snap) // a has another value there
	require.Equal(t, []string{"a=2", "c=ü", "d="}, have(snap))
	remove(nil, snap)
	require.Empty(t, have(snap))
	_, err := c.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{ami, "ami-00000000000000000"}, Tags: tag("e=1")})
	require.Equal(t, "InvalidAMIID.NotFound", codeOf(t, err))
	require.Len(t, have(ami), 4, "all or nothing")
}

func TestKeyPairs(t *testing.T) {
	c := start(t, quiet(t))
	made, err := c.ec2.CreateKeyPair(t.Context(), &ec2.CreateKeyPairInput{KeyName: aws.String("k"), KeyType: ec2types.KeyTypeEd25519})
	require.NoError(t, err)
	require.Contains(t, *made.KeyMaterial, "PRIVATE KEY")
	_, err = c.ec2.ImportKeyPair(t.Context(), &ec2.ImportKeyPairInput{
		KeyName: aws.String("mine"), PublicKeyMaterial: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me"),
	})
	require.NoError(t, err)
	keys, err := c.ec2.DescribeKeyPairs(t.Context(), &ec2.DescribeKeyPairsInput{IncludePublicKey: aws.Bool(true)})
	require.NoError(t, err)
	require.Len(t, keys.KeyPairs, 2)
	require.Contains(t, *keys.KeyPairs[1].PublicKey, "AAAAC3NzaC1lZDI1NTE5")
	_, err = c.ec2.DeleteKeyPair(t.Context(), &ec2.DeleteKeyPairInput{KeyName: aws.String("k")})
	require.NoError(t, err)
}
