// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

const (
	here  = "eu-west-1"
	there = "us-east-1"
)

// cloud is a local cloud that can be killed and started again at its address.
type cloud struct {
	t   *testing.T
	cfg local.Config

	mu     sync.Mutex
	server *local.Server
	stop   func()
}

func startCloud(t *testing.T, tweaks ...func(*local.Config)) *cloud {
	t.Helper()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_EBS", "AWS_PROFILE"} {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	c := &cloud{t: t, cfg: local.Config{
		Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Settle: 300 * time.Millisecond,
		AccessKey: "AKIATEST", SecretKey: "hush-hush", Log: slog.New(slog.DiscardHandler),
	}}
	for _, tweak := range tweaks {
		tweak(&c.cfg)
	}
	c.start()
	t.Cleanup(c.kill)
	return c
}

// start starts the cloud, after kill at the same address.
func (c *cloud) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := local.New(c.cfg)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.cfg.Listen = strings.TrimPrefix(s.Info().Endpoint, "http://")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c.server = s
	c.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// kill ends the cloud.
func (c *cloud) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
}

func (c *cloud) faults() *fault.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server.Faults()
}

func (c *cloud) config() publish.Config {
	p := publish.Config{
		AccessConfig: publish.AccessConfig{
			Region: here, AccessKey: "AKIATEST", SecretKey: "hush-hush", EndpointURL: "http://" + c.cfg.Listen,
		},
		AMIName: "image " + c.t.Name()[max(0, len(c.t.Name())-40):], AMIDescription: "made by a test", BootMode: "legacy-bios",
		Polling: publish.PollingConfig{DelaySeconds: 1},
		Facts:   publish.Facts{NotYet: 2 * time.Second},
	}
	p.AMIName = strings.NewReplacer("#", "_", "=", "_", ":", "_").Replace(p.AMIName)
	return p
}

func (c *cloud) factory() *awsx.Factory {
	c.t.Helper()
	f, err := awsx.New(c.t.Context(), c.config().AWS())
	require.NoError(c.t, err)
	return f
}

// publish prepares and publishes, as a builder does.
func (c *cloud) publish(ctx context.Context, disk string, p publish.Config, ui publish.Reporter) (*publish.Result, error) {
	c.t.Helper()
	require.Empty(c.t, p.Prepare())
	f, err := awsx.New(ctx, p.AWS())
	if err != nil {
		return nil, err
	}
	return publish.Publish(ctx, f, disk, p, ui)
}

// left lists every snapshot and image in both regions.
func (c *cloud) left() []string {
	c.t.Helper()
	var ids []string
	for _, region := range []string{here, there} {
		client := c.factory().EC2(region)
		snaps, err := client.DescribeSnapshots(c.t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
		require.NoError(c.t, err)
		for _, s := range snaps.Snapshots {
			ids = append(ids, *s.SnapshotId)
		}
		images, err := client.DescribeImages(c.t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
		require.NoError(c.t, err)
		for _, i := range images.Images {
			ids = append(ids, *i.ImageId)
		}
	}
	return ids
}

// lines hands on what the user is told.
type lines struct {
	t    *testing.T
	mu   sync.Mutex
	all  []string
	hook func(line string)
}

func (l *lines) Say(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
	l.t.Log(s)
	if l.hook != nil {
		l.hook(s)
	}
}

// sparseDisk writes a disk with data in a part of its blocks.
func sparseDisk(t testing.TB, size int64, blocks int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	random := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, sparse.BlockSize)
	for range blocks {
		_, _ = random.Read(buf)
		_, err = f.WriteAt(buf, rand.Int64N(size-sparse.BlockSize))
		require.NoError(t, err)
	}
	_, err = f.WriteAt([]byte("the end"), size-7)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// requireSame reads a snapshot back and compares it with the disk.
func (c *cloud) requireSame(disk, region, snapshot string) {
	c.t.Helper()
	d, err := sparse.Open(disk)
	require.NoError(c.t, err)
	defer d.Close()
	client := c.factory().EBS(region)
	want, got := make([]byte, sparse.BlockSize), new(bytes.Buffer)
	stored := map[int64]string{}
	pages := ebs.NewListSnapshotBlocksPaginator(client, &ebs.ListSnapshotBlocksInput{SnapshotId: &snapshot})
	for pages.HasMorePages() {
		page, err := pages.NextPage(c.t.Context())
		require.NoError(c.t, err)
		for _, b := range page.Blocks {
			stored[int64(*b.BlockIndex)] = *b.BlockToken
		}
	}
	for index, err := range d.Blocks() {
		require.NoError(c.t, err)
		require.NoError(c.t, d.Read(index, want))
		token, ok := stored[index]
		require.Equal(c.t, !sparse.IsZero(want), ok, "block %d", index)
		delete(stored, index)
		if !ok {
			continue
		}
		out, err := client.GetSnapshotBlock(c.t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &snapshot, BlockIndex: aws.Int32(int32(index)), BlockToken: &token})
		require.NoError(c.t, err)
		got.Reset()
		_, err = got.ReadFrom(out.BlockData)
		require.NoError(c.t, errors.Join(err, out.BlockData.Close()))
		require.True(c.t, bytes.Equal(want, got.Bytes()), "block %d differs", index)
	}
	require.Empty(c.t, stored, "blocks that the disk has not")
}
