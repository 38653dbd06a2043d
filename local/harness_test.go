// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

const region = "eu-west-1"

// cloud is a running local cloud with the AWS SDK's clients.
type cloud struct {
	*Server
	t    *testing.T
	ec2  *ec2.Client
	ebs  *ebs.Client
	stop func()
}

// quiet is a configuration without delays.
func quiet(t *testing.T) Config {
	return Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Log: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, cfg Config, tweaks ...func(*Server)) *cloud {
	t.Helper()
	s, err := New(cfg)
	require.NoError(t, err)
	for _, tweak := range tweaks {
		tweak(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c := &cloud{Server: s, t: t}
	stopped := false
	c.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(c.stop)
	c.ec2, c.ebs = c.clients(region, "key", "secret")
	return c
}

// clients signs with the given key and does not retry.
func (c *cloud) clients(region, key, secret string) (*ec2.Client, *ebs.Client) {
	cfg := aws.Config{
		Region: region, BaseEndpoint: aws.String(c.Info().Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
	return ec2.NewFromConfig(cfg), ebs.NewFromConfig(cfg)
}

// codeOf is the error code of a refused call.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	var api smithy.APIError
	require.Truef(t, errors.As(err, &api), "want an API error, got %v", err)
	return api.ErrorCode()
}

// block makes the data of one block from a seed, with its checksum.
func block(seed byte) ([]byte, string) {
	data := make([]byte, store.BlockSize)
	src := rand.NewChaCha8([32]byte{seed})
	_, _ = src.Read(data)
	sum := sha256.Sum256(data)
	return data, base64.StdEncoding.EncodeToString(sum[:])
}

func (c *cloud) put(snap string, index int32, seed byte) error {
	data, sum := block(seed)
	_, err := c.ebs.PutSnapshotBlock(c.t.Context(), &ebs.PutSnapshotBlockInput{
		SnapshotId: &snap, BlockIndex: &index, BlockData: bytes.NewReader(data), DataLength: aws.Int32(int32(len(data))),
		Checksum: &sum, ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	return err
}

// snapshot uploads the given blocks (index to seed) and completes them.
func (c *cloud) snapshot(parent string, blocks map[int32]byte) string {
	c.t.Helper()
	in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)}
	if parent != "" {
		in.ParentSnapshotId = &parent
	}
	out, err := c.ebs.StartSnapshot(c.t.Context(), in)
	require.NoError(c.t, err)
	for index, seed := range blocks {
		require.NoError(c.t, c.put(*out.SnapshotId, index, seed))
	}
	_, err = c.ebs.CompleteSnapshot(c.t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: out.SnapshotId, ChangedBlocksCount: aws.Int32(int32(len(blocks)))})
	require.NoError(c.t, err)
	return *out.SnapshotId
}

func registration(name, snap string) *ec2.RegisterImageInput {
	return &ec2.RegisterImageInput{
		Name: &name, Architecture: ec2types.ArchitectureValuesX8664, VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		RootDeviceName:      aws.String("/dev/xvda"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snap}}},
	}
}

// image registers an image of a fresh snapshot.
func (c *cloud) image(name string) (ami, snap string) {
	c.t.Helper()
	snap = c.snapshot("", map[int32]byte{0: 1})
	out, err := c.ec2.RegisterImage(c.t.Context(), registration(name, snap))
	require.NoError(c.t, err)
	return *out.ImageId, snap
}

func launchOne(ami string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{ImageId: &ami, InstanceType: ec2types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
}

func (c *cloud) instance(id string) ec2types.Instance {
	c.t.Helper()
	out, err := c.ec2.DescribeInstances(c.t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	require.NoError(c.t, err)
	return out.Reservations[0].Instances[0]
}

// reaches waits for a state of an instance.
func (c *cloud) reaches(id string, state ec2types.InstanceStateName) ec2types.Instance {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.instance(id).State.Name == state }, 5*time.Second, 5*time.Millisecond, "instance never became %s", state)
	return c.instance(id)
}
