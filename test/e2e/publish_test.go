// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// publishRegions are those of testdata/publish.pkr.hcl.
var publishRegions = []string{chain.Region, "eu-west-1", "ap-southeast-2"}

// TestTwoBuildersThreeRegions publishes with both builders in one run of Packer
// and reads every attribute back, with the AWS command line where Debian's
// version knows it, with the SDK where it does not.
func TestTwoBuildersThreeRegions(t *testing.T) {
	needE2E(t)
	ctx, cancel := context.WithTimeout(testContext(t), 15*time.Minute)
	defer cancel()
	env, err := chain.New("publish", testWriter{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	cloud, err := env.StartCloud(ctx, "", "--no-boot", "--settle", "100ms")
	require.NoError(t, err)
	clients := map[string]*ec2.Client{}
	for _, region := range publishRegions {
		o := cloud.EC2.Options().Copy()
		o.Region = region
		clients[region] = ec2.New(o)
	}
	source := recordImage(ctx, t, cloud)
	base, err := env.BaseDisk(ctx, chain.Systemd)
	require.NoError(t, err)
	deprecated := time.Now().Add(30 * 24 * time.Hour).UTC().Truncate(time.Minute)
	build := func(output string, flags ...string) (string, error) {
		vars := []string{"base_disk=" + base, "source_ami=" + source, "output=" + output, "deprecate_at=" + deprecated.Format(time.RFC3339)}
		return publishBuild(ctx, env, cloud, append(vars, flags...)...)
	}

	// A new account blocks public access: this is said of all regions before
	// anything is made.
	text, err := build(t.TempDir(), "-only=rightimage-disk.public")
	require.Error(t, err)
	for region, client := range clients {
		require.Contains(t, text, "ami_groups: the account blocks public images in "+region)
		require.Contains(t, text, "disable-image-block-public-access --region "+region)
		_, err = client.DisableImageBlockPublicAccess(ctx, &ec2.DisableImageBlockPublicAccessInput{})
		require.NoError(t, err)
	}
	requireImages(ctx, t, clients, "public", 0)

	output := t.TempDir()
	text, err = build(output)
	require.NoError(t, err, text)
	requireCatalogue(t, filepath.Join(output, "catalogue.json"))
	for region, images := range requireImages(ctx, t, clients, "public", 1) {
		requirePublic(ctx, t, env, cloud, clients[region], region, images[0])
	}
	for region, images := range requireImages(ctx, t, clients, "encrypted", 1) {
		requireEncrypted(ctx, t, clients[region], images[0], source, deprecated)
	}
	requireNothingElse(ctx, t, clients)

	// The same names again: both say so, in one go, and nothing changes.
	text, err = build(t.TempDir())
	require.Error(t, err)
	require.Contains(t, text, `ami_name: "public" is taken in us-east-1`)
	require.Contains(t, text, `ami_name: "encrypted" is taken in us-east-1`)
	requireImages(ctx, t, clients, "public", 1)
	requireNothingElse(ctx, t, clients)
}

func publishBuild(ctx context.Context, e *chain.Env, cloud *chain.Cloud, vars ...string) (string, error) {
	env, err := e.PackerEnv(ctx)
	if err != nil {
		return "", err
	}
	packer, err := e.Packer()
	if err != nil {
		return "", err
	}
	args := []string{"build", "-color=false"}
	for _, v := range vars {
		if v[0] != '-' {
			args = append(args, "-var")
		}
		args = append(args, v)
	}
	text, err := e.Command(ctx, append(env, cloud.Env()...), packer, append(args, filepath.Join(e.Repo, "test", "e2e", "testdata", "publish.pkr.hcl"))...)
	if err != nil {
		text += err.Error()
	}
	return text, err
}

// requireImages returns the images of a name in each region, of which there
// must be so many.
func requireImages(ctx context.Context, t *testing.T, clients map[string]*ec2.Client, name string, count int) map[string][]types.Image {
	t.Helper()
	found := map[string][]types.Image{}
	for region, client := range clients {
		out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
		require.NoError(t, err)
		require.Len(t, out.Images, count, "%s in %s", name, region)
		found[region] = out.Images
	}
	return found
}

// requireCatalogue checks the record that both builds share.
func requireCatalogue(t *testing.T, path string) {
	t.Helper()
	file, err := catalogue.Read(path)
	require.NoError(t, err)
	require.Len(t, file.Entries, 2)
	names := []string{file.Entries[0].Name, file.Entries[1].Name}
	require.ElementsMatch(t, []string{"public", "encrypted"}, names)
	for _, e := range file.Entries {
		require.ElementsMatch(t, publishRegions, e.Regions())
	}
}

// requirePublic reads the public image back with the AWS command line.
func requirePublic(ctx context.Context, t *testing.T, env *chain.Env, cloud *chain.Cloud, client *ec2.Client, region string, image types.Image) {
	t.Helper()
	var images struct{ Images []types.Image }
	awsJSON(ctx, t, env, cloud, region, &images, "ec2", "describe-images", "--image-ids", *image.ImageId)
	got := images.Images[0]
	require.True(t, *got.Public)
	require.True(t, *got.EnaSupport)
	require.Equal(t, "Made of a disk for x86_64", *got.Description)
	require.Equal(t, types.BootModeValuesLegacyBios, got.BootMode)
	require.Equal(t, types.ImdsSupportValuesV20, got.ImdsSupport)
	tags := tagsOf(got.Tags)
	require.Equal(t, "public", tags["Family"])
	require.Equal(t, "x86_64", tags["Arch"])
	require.NotEmpty(t, tags["rightimage:version"])
	require.NotEmpty(t, tags["rightimage:publish-id"])
	at, err := time.Parse(time.RFC3339, *got.DeprecationTime)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(90*24*time.Hour), at, 15*time.Minute)

	var attribute struct{ LaunchPermissions []types.LaunchPermission }
	awsJSON(ctx, t, env, cloud, region, &attribute, "ec2", "describe-image-attribute", "--image-id", *image.ImageId, "--attribute", "launchPermission")
	require.Equal(t, types.PermissionGroupAll, attribute.LaunchPermissions[0].Group)
	var snapshots struct{ Snapshots []types.Snapshot }
	awsJSON(ctx, t, env, cloud, region, &snapshots, "ec2", "describe-snapshots", "--snapshot-ids", *got.BlockDeviceMappings[0].Ebs.SnapshotId)
	require.Equal(t, "root", tagsOf(snapshots.Snapshots[0].Tags)["Part"])
	require.Equal(t, "public", tagsOf(snapshots.Snapshots[0].Tags)["Family"])

	parameters := ssm.New(ssm.Options{
		Region: region, BaseEndpoint: aws.String(cloud.Endpoint), Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	newest, err := parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/images/public")})
	require.NoError(t, err)
	require.Equal(t, *image.ImageId, *newest.Parameter.Value)
	_, err = client.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: image.ImageId, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Small, DryRun: aws.Bool(true)})
	require.ErrorContains(t, err, "DryRunOperation")
}

// requireEncrypted reads the encrypted image back with the SDK.
func requireEncrypted(ctx context.Context, t *testing.T, client *ec2.Client, image types.Image, source string, deprecated time.Time) {
	t.Helper()
	require.False(t, *image.Public)
	require.Equal(t, "Made of "+source, *image.Description)
	require.Equal(t, source, tagsOf(image.Tags)["Source"])
	require.Equal(t, deprecated.Format("2006-01-02T15:04:05.000Z"), *image.DeprecationTime)
	require.Equal(t, "enabled-without-cooldown", aws.ToString(image.DeregistrationProtection))
	root := image.BlockDeviceMappings[0].Ebs
	require.True(t, *root.Encrypted)
	permissions, err := client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: image.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
	require.NoError(t, err)
	require.ElementsMatch(t, []types.LaunchPermission{
		{UserId: aws.String("123456789012")},
		{OrganizationArn: aws.String("arn:aws:organizations::123456789012:organization/o-1234567890")},
	}, permissions.LaunchPermissions)
	snapshot, err := client.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: root.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	require.NoError(t, err)
	require.Equal(t, "123456789012", aws.ToString(snapshot.CreateVolumePermissions[0].UserId))
	described, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*root.SnapshotId}})
	require.NoError(t, err)
	require.Contains(t, aws.ToString(described.Snapshots[0].KmsKeyId), ":"+client.Options().Region+":")
	require.NotEmpty(t, tagsOf(described.Snapshots[0].Tags)["rightimage:publish-id"])
}

// requireNothingElse checks that no snapshot is there without an image, and no
// machine runs.
func requireNothingElse(ctx context.Context, t *testing.T, clients map[string]*ec2.Client) {
	t.Helper()
	for region, client := range clients {
		want := 2
		if region == chain.Region {
			want = 3 // that of the source image as well
		}
		snapshots, err := client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
		require.NoError(t, err)
		require.Len(t, snapshots.Snapshots, want, region)
		instances, err := client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
		require.NoError(t, err)
		for _, r := range instances.Reservations {
			require.Equal(t, types.InstanceStateNameTerminated, r.Instances[0].State.Name)
		}
	}
}

func tagsOf(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, tag := range tags {
		m[*tag.Key] = *tag.Value
	}
	return m
}

// awsJSON runs Debian's AWS command line and reads its answer.
func awsJSON(ctx context.Context, t *testing.T, env *chain.Env, cloud *chain.Cloud, region string, into any, args ...string) {
	t.Helper()
	args = append([]string{"--endpoint-url", cloud.Endpoint, "--region", region, "--output", "json"}, args...)
	out, err := env.Command(ctx, cloud.Env(), "/usr/bin/aws", args...)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal([]byte(out), into), out)
}
