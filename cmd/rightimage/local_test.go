// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// binary builds the command once per test.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rightimage")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// output is a buffer that the process and the test may use at once.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// startLocal starts "rightimage local" and waits until it is there. The returned
// function stops it as Ctrl-C would.
func startLocal(t *testing.T, bin, state string, args ...string) (local.Info, *output, func()) {
	t.Helper()
	out := &output{}
	cmd := exec.Command(bin, append([]string{"local", "--state", state, "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.NoError(t, cmd.Wait(), out.String())
	}
	t.Cleanup(stop)
	var info local.Info
	require.Eventually(t, func() (ok bool) {
		var err error
		info, err = local.ReadInfo(state)
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "no local.json: %s", out)
	return info, out, stop
}

func run(t *testing.T, bin string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, args...).CombinedOutput()
	return string(out), err
}

func TestLocalCommand(t *testing.T) {
	bin, state := binary(t), t.TempDir()
	info, out, stop := startLocal(t, bin, state, "--no-boot", "--deny", "ec2:RunInstances")
	require.Contains(t, out.String(), "export AWS_ENDPOINT_URL="+info.Endpoint)

	id, err := run(t, bin, "local", "fault", "add", "--state", state, "--action", "RegisterImage", "--kind", "throttle", "--nth", "2")
	require.NoError(t, err, id)
	require.Equal(t, "2\n", id, "the denial is the first")
	list, err := run(t, bin, "local", "fault", "list", "--state", state)
	require.NoError(t, err)
	require.Regexp(t, `(?m)^2 +RegisterImage +throttle +2 +0 +0 +0$`, list)
	_, err = run(t, bin, "local", "fault", "clear", "2", "--state", state)
	require.NoError(t, err)
	text, err := run(t, bin, "local", "fault", "add", "--state", state, "--action", "X", "--kind", "boom")
	require.Error(t, err)
	require.Contains(t, text, "must be one of")
	text, err = run(t, bin, "local", "--state", state, "--listen", "127.0.0.1:0")
	require.Error(t, err)
	require.Contains(t, text, "in use")

	stop()
	require.NoFileExists(t, filepath.Join(state, "local.json"))
	text, err = run(t, bin, "local", "fault", "list", "--state", state)
	require.Error(t, err)
	require.Contains(t, text, "no local cloud is running")
}

func TestLocalRefusals(t *testing.T) {
	bin := binary(t)
	for want, args := range map[string][]string{
		"loopback only":            {"--listen", "0.0.0.0:4566"},
		"give both":                {"--access-key", "x"},
		"169.254.169.0/24":         {"--forward", "10.0.0.1:80=127.0.0.1:80"},
		"there is no =":            {"--forward", "169.254.169.253:80"},
		"between 1 and 65535":      {"--forward", "169.254.169.253:80=127.0.0.1:0"},
		"is the metadata service":  {"--forward", "169.254.169.254:80=127.0.0.1:8000"},
		"must look like eu-west-1": {"--regions", "Mars"},
	} {
		text, err := run(t, bin, append([]string{"local", "--state", t.TempDir(), "--no-boot"}, args...)...)
		require.Error(t, err)
		require.Contains(t, text, want)
	}
}

// TestBootsARealDisk boots RIGHTIMAGE_TEST_DISK, a raw disk that writes a login
// prompt to its serial console, in the local cloud.
func TestBootsARealDisk(t *testing.T) {
	disk := os.Getenv("RIGHTIMAGE_TEST_DISK")
	if disk == "" {
		t.Skip("set RIGHTIMAGE_TEST_DISK to a bootable raw disk to run this test")
	}
	info, out, stop := startLocal(t, binary(t), t.TempDir(), "--verbose")
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &info.Endpoint, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	cloud := ec2.NewFromConfig(cfg)
	snap := upload(t, ebs.NewFromConfig(cfg), disk)
	require.NoError(t, ec2.NewSnapshotCompletedWaiter(cloud, func(o *ec2.SnapshotCompletedWaiterOptions) { o.MinDelay = time.Second }).
		Wait(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snap}}, time.Minute))
	image, err := cloud.RegisterImage(t.Context(), &ec2.RegisterImageInput{
		Name: aws.String("real"), Architecture: "x86_64", VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true), RootDeviceName: aws.String("/dev/xvda"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snap}}},
	})
	require.NoError(t, err)
	run, err := cloud.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: image.ImageId, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	require.NoError(t, err)
	id := *run.Instances[0].InstanceId
	console := func() string {
		got, err := cloud.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: &id})
		require.NoError(t, err)
		text, err := base64.StdEncoding.DecodeString(aws.ToString(got.Output))
		require.NoError(t, err)
		return string(text)
	}
	state := func() ec2types.InstanceStateName {
		got, err := cloud.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		require.NoError(t, err)
		return got.Reservations[0].Instances[0].State.Name
	}
	waitFor(t, 4*time.Minute, func() bool { return strings.Contains(console(), "login:") })
	require.EqualValues(t, "running", state())
	_, err = cloud.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	waitFor(t, 2*time.Minute, func() bool { return state() == "stopped" })
	_, err = cloud.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	waitFor(t, time.Minute, func() bool { return state() == "running" })
	stop() // with a machine running
	t.Log(out)
}

func waitFor(t *testing.T, bound time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(bound); !done(); time.Sleep(time.Second) {
		require.True(t, time.Now().Before(end), "not within %s", bound)
	}
}

// upload puts the blocks of a disk that are not all zero.
func upload(t *testing.T, client *ebs.Client, disk string) string {
	t.Helper()
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	info, err := f.Stat()
	require.NoError(t, err)
	started, err := client.StartSnapshot(context.Background(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64((info.Size() + 1<<30 - 1) >> 30)})
	require.NoError(t, err)
	data, n := make([]byte, store.BlockSize), int32(0)
	for index := int32(0); ; index++ {
		clear(data)
		if _, err := io.ReadFull(f, data); err == io.EOF {
			break
		}
		if bytes.Equal(data, make([]byte, len(data))) {
			continue
		}
		sum := sha256.Sum256(data)
		_, err := client.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{
			SnapshotId: started.SnapshotId, BlockIndex: &index, BlockData: bytes.NewReader(data), DataLength: aws.Int32(store.BlockSize),
			Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: "SHA256",
		})
		require.NoError(t, err)
		n++
	}
	_, err = client.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: started.SnapshotId, ChangedBlocksCount: &n})
	require.NoError(t, err)
	return *started.SnapshotId
}
