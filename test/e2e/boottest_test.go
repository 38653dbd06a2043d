// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
	"github.com/rightimage/packer-plugin-rightimage/verify"
)

// TestBootTest publishes for everybody: the demo's disk, which is booted, looked
// at and rebooted first, and a copy whose init is broken, which never becomes
// public and of which nothing is left. The image that is public then is read back
// and verified.
func TestBootTest(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Minute)
	defer cancel()
	_, err := s.Cloud.EC2.DisableImageBlockPublicAccess(ctx, &ec2.DisableImageBlockPublicAccessInput{})
	require.NoError(t, err)
	disk := onlyMatch(t, filepath.Join(s.Work, "image", "*.raw"))

	text, err := s.Command(ctx, s.Cloud.Env(), s.Bin("rightimage"), "publish", disk, "--region", chain.Region, "--ami-name", "boot tested",
		"--ami-groups", "all", "--boot-mode", "legacy-bios", "--json", "--tags", "Purpose=boot-tested")
	require.NoError(t, err)
	require.Contains(t, text, `"boot test"`, "how long it took")
	images := requireImages(ctx, t, map[string]*ec2.Client{chain.Region: s.Cloud.EC2}, "boot tested", 1)[chain.Region]
	require.True(t, *images[0].Public)
	requireNoTestMachine(ctx, t, s)
	log, err := os.ReadFile(filepath.Join(s.Logs, "rightimage.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "boot test: passed")
	require.NotContains(t, string(log), "boot test: warning", "nor is there anything to say about the image")

	text, err = brokenBuild(ctx, s, disk, t.TempDir())
	require.Error(t, err)
	require.Contains(t, text, "boot test: image ami-")
	require.Contains(t, text, "blocker: live-boot: the kernel panicked")
	require.Contains(t, text, "  | ", "the end of the console")
	requireImages(ctx, t, map[string]*ec2.Client{chain.Region: s.Cloud.EC2}, "broken", 0)
	requireNoTestMachine(ctx, t, s)
	snapshots, err := s.Cloud.EC2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: []types.Filter{{Name: aws.String("tag:Purpose"), Values: []string{"broken"}}}})
	require.NoError(t, err)
	require.Empty(t, snapshots.Snapshots)

	out, err := s.Command(ctx, s.Cloud.Env(), s.Bin("rightimage"), "verify", *images[0].ImageId, "--region", chain.Region, "--json")
	require.NoError(t, err, "no blocker")
	report, err := verify.ReadJSON([]byte(out))
	require.NoError(t, err)
	require.Contains(t, report.System, "Debian")
	require.Contains(t, report.Checks, "fs-deleted-data")
	require.Greater(t, report.Files, int64(5000))
	requireNotMounted(t, s)
}

// brokenBuild makes an image of a disk with rightimage-disk that does not boot.
func brokenBuild(ctx context.Context, s *chain.Story, disk, output string) (string, error) {
	env, err := s.PackerEnv(ctx)
	if err != nil {
		return "", err
	}
	packer, err := s.Packer()
	if err != nil {
		return "", err
	}
	text, err := s.Command(ctx, append(env, s.Cloud.Env()...), packer, "build", "-color=false", "-var", "disk="+disk, "-var", "region="+chain.Region,
		"-var", "output="+output, filepath.Join(s.Repo, "test", "e2e", "testdata", "boottest.pkr.hcl"))
	if err != nil {
		text += err.Error()
	}
	return text, err
}

func onlyMatch(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	return found[0]
}

// requireNoTestMachine looks for what boot tests make.
func requireNoTestMachine(ctx context.Context, t *testing.T, s *chain.Story) {
	t.Helper()
	named := []types.Filter{{Name: aws.String("tag:Name"), Values: []string{"rightimage-boot-test-*"}}}
	machines, err := s.Cloud.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: named})
	require.NoError(t, err)
	for _, r := range machines.Reservations {
		for _, i := range r.Instances {
			require.Equal(t, types.InstanceStateNameTerminated, i.State.Name)
			require.NoError(t, s.Cloud.KeepConsole(*i.InstanceId, "boot-test-"+*i.InstanceId))
		}
	}
	keys, err := s.Cloud.EC2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: named})
	require.NoError(t, err)
	require.Empty(t, keys.KeyPairs)
	groups, err := s.Cloud.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: named})
	require.NoError(t, err)
	require.Empty(t, groups.SecurityGroups)
	volumes, err := s.Cloud.EC2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: named})
	require.NoError(t, err)
	require.Empty(t, volumes.Volumes)
}
