// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestStockBuilder builds an AMI in the local cloud with the amazon-ebs builder
// as HashiCorp released it, launches the AMI and reads what the provisioner wrote.
func TestStockBuilder(t *testing.T) {
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 25*time.Minute)
	defer cancel()
	const name = "made by the stock builder"
	port := sshPort(ctx)
	stockBuild(ctx, t, s.Env, "amazon-ebs.pkr.hcl", "endpoint="+s.Cloud.Endpoint, "region="+chain.Region, "source_ami="+s.Image,
		"ami_name="+name, "ssh_port="+strconv.Itoa(port))
	requireOnlyImage(ctx, t, s)

	images, err := s.Cloud.EC2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{name}}}})
	require.NoError(t, err)
	require.Len(t, images.Images, 1)
	image := images.Images[0]
	require.Equal(t, types.ImageStateAvailable, image.State)
	require.Equal(t, "Made by Packer's own builder", *image.Description)
	require.Contains(t, image.Tags, types.Tag{Key: aws.String("Source"), Value: aws.String(s.Image)})
	require.Len(t, image.BlockDeviceMappings, 2)

	instance, key := launchWithKey(ctx, t, s, *image.ImageId, nil)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(*instance.InstanceId, "stock") })
	addr := net.JoinHostPort(*instance.PublicIpAddress, strconv.Itoa(port))
	require.Equal(t, "written by the shell provisioner\n", overSSH(ctx, t, addr, key, "cat /etc/stock-build"))
	require.NoError(t, s.Cloud.Terminate(ctx, *instance.InstanceId))
}

// stockBuild runs Packer with the stock builder on a template of testdata.
func stockBuild(ctx context.Context, t *testing.T, e *chain.Env, template string, vars ...string) {
	t.Helper()
	env, err := e.PackerEnv(ctx)
	require.NoError(t, err)
	packer, err := e.Packer()
	require.NoError(t, err)
	plugin, err := chain.Lookup(filepath.Join(e.Cache, "bin", "packer-plugin-amazon"))
	require.NoError(t, err, "build it with: make .cache/bin/packer-plugin-amazon")
	_, err = e.Command(ctx, env, packer, "plugins", "install", "--path", plugin, "github.com/hashicorp/amazon")
	require.NoError(t, err)
	args := []string{"build", "-color=false"}
	for _, v := range vars {
		args = append(args, "-var", v)
	}
	_, err = e.Command(ctx, env, packer, append(args, filepath.Join(e.Repo, "test", "e2e", "testdata", template))...)
	require.NoError(t, err)
}

// sshPort is the port at which addresses of instances lead to their ssh: 22 where
// this program may listen there and nobody else does.
func sshPort(ctx context.Context) int {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.86.0.1:22") // no instance has this address
	if err != nil {
		return 2222
	}
	_ = l.Close()
	return 22
}

// requireOnlyImage checks that the builder could remove all else that it made.
func requireOnlyImage(ctx context.Context, t *testing.T, s *chain.Story) {
	t.Helper()
	keys, err := s.Cloud.EC2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	require.NoError(t, err)
	require.Empty(t, keys.KeyPairs)
	groups, err := s.Cloud.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-name"), Values: []string{"packer_*"}}}})
	require.NoError(t, err)
	require.Empty(t, groups.SecurityGroups)
	volumes, err := s.Cloud.EC2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("tag:Name"), Values: []string{"stock volume"}}}})
	require.NoError(t, err)
	require.Empty(t, volumes.Volumes)
	instances, err := s.Cloud.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:Name"), Values: []string{"stock build"}}}})
	require.NoError(t, err)
	require.Len(t, instances.Reservations, 1)
	require.Equal(t, types.InstanceStateNameTerminated, instances.Reservations[0].Instances[0].State.Name)
}

// launchWithKey launches an image with a new key pair, and waits until it runs.
// Disks may change those of the image.
func launchWithKey(ctx context.Context, t *testing.T, s *chain.Story, image string, disks []types.BlockDeviceMapping) (types.Instance, ssh.Signer) {
	t.Helper()
	key, err := s.Cloud.EC2.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("stock"), KeyType: types.KeyTypeEd25519})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = s.Cloud.EC2.DeleteKeyPair(context.WithoutCancel(ctx), &ec2.DeleteKeyPairInput{KeyName: aws.String("stock")})
	})
	signer, err := ssh.ParsePrivateKey([]byte(*key.KeyMaterial))
	require.NoError(t, err)
	out, err := s.Cloud.EC2.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: &image, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Small, KeyName: aws.String("stock"),
		BlockDeviceMappings: disks,
	})
	require.NoError(t, err)
	in := &ec2.DescribeInstancesInput{InstanceIds: []string{*out.Instances[0].InstanceId}}
	running, err := ec2.NewInstanceRunningWaiter(s.Cloud.EC2, func(o *ec2.InstanceRunningWaiterOptions) { o.MinDelay, o.MaxDelay = time.Second, time.Second }).
		WaitForOutput(ctx, in, time.Minute)
	require.NoError(t, err)
	return running.Reservations[0].Instances[0], signer
}

// overSSH runs a command as root, once the machine lets it in.
func overSSH(ctx context.Context, t *testing.T, addr string, key ssh.Signer, command string) string {
	t.Helper()
	var out bytes.Buffer
	streamSSH(ctx, t, addr, key, command, nil, &out)
	return out.String()
}

// streamSSH is overSSH with a standard input, and an output of any size. What the
// command complains of is shown with its error.
func streamSSH(ctx context.Context, t *testing.T, addr string, key ssh.Signer, command string, in io.Reader, out io.Writer) {
	t.Helper()
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, Timeout: 20 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // the machine made its key this minute
	}
	var client *ssh.Client
	require.NoError(t, chain.Until(ctx, 2*time.Second, addr+" takes the key", func(context.Context) (bool, error) {
		var err error
		client, err = ssh.Dial("tcp", addr, config)
		return err == nil, nil
	}))
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	require.NoError(t, err)
	var complaint bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = in, out, &complaint
	require.NoError(t, session.Run(command), "%s\n%s", command, &complaint)
}
