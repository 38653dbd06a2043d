// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

// TestMachineBuilder makes a RightImage on a build machine with rightimage-ebs,
// boots it, and looks at what the build has left in the cloud and in the image.
func TestMachineBuilder(t *testing.T) {
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 25*time.Minute)
	defer cancel()
	const name = "made on a machine"
	factory, err := awsx.New(ctx, awsx.Config{Region: chain.Region, EndpointURL: s.Cloud.Endpoint, AccessKey: "local", SecretKey: "local"})
	require.NoError(t, err)
	before, err := matrix.Things(ctx, factory, chain.Region)
	require.NoError(t, err)
	env, err := s.PackerEnv(ctx)
	require.NoError(t, err)
	packer, err := s.Packer()
	require.NoError(t, err)
	keys := filepath.Join(t.TempDir(), "keys")
	_, err = s.Command(ctx, append(env, s.Cloud.Env()...), packer, "build", "-color=false", "-var", "source_ami="+s.Image,
		"-var", "region="+chain.Region, "-var", "ami_name="+name, "-var", "build_keys="+keys,
		filepath.Join(s.Repo, "test", "e2e", "testdata", "ebs.pkr.hcl"))
	require.NoError(t, err)

	after, err := matrix.Things(ctx, factory, chain.Region)
	require.NoError(t, err)
	made := matrix.Minus(after, before)
	require.Len(t, made, 3, "an image and its two snapshots, and nothing else: %v", made)
	found, err := s.Cloud.EC2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
	require.NoError(t, err)
	require.Len(t, found.Images, 1)
	image := found.Images[0]
	require.Contains(t, image.Tags, types.Tag{Key: aws.String("Source"), Value: aws.String(s.Image)})
	require.Len(t, image.BlockDeviceMappings, 2)

	instance, key := launchWithKey(ctx, t, s, *image.ImageId, nil)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(*instance.InstanceId, "ebs") })
	addr := net.JoinHostPort(*instance.PublicIpAddress, strconv.Itoa(sshPort(ctx)))
	require.Regexp(t, "^made of "+s.Image+" in "+chain.Region+" on i-[0-9a-f]+\n$", overSSH(ctx, t, addr, key, "cat /etc/ebs-build"))
	require.Contains(t, overSSH(ctx, t, addr, key, "/opt/rightscale/bin/bootstrap status"), *instance.InstanceId)
	built, err := os.ReadFile(keys)
	require.NoError(t, err)
	require.Contains(t, string(built), "ssh-ed25519 ")
	login := overSSH(ctx, t, addr, key, "cat /root/.ssh/authorized_keys")
	for _, line := range strings.Split(strings.TrimSpace(string(built)), "\n") {
		require.NotContains(t, login, strings.Fields(line)[1], "the key of the build is not in the image")
	}
	require.NoError(t, s.Cloud.Terminate(ctx, *instance.InstanceId))
}
