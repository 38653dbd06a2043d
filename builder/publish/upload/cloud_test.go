// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

// These tests upload to the local cloud and read the snapshot back from it.

func startCloud(t *testing.T) *local.Server {
	t.Helper()
	s, err := local.New(local.Config{
		Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// region is a region of a cloud as a caller sees it.
func region(ctx context.Context, endpoint, name string) (Target, *ebs.Client, error) {
	f, err := awsx.New(ctx, awsx.Config{Region: name, AccessKey: "AKIATEST", SecretKey: "hush", EndpointURL: endpoint})
	if err != nil {
		return Target{}, nil, err
	}
	api, control := f.EBS(name), f.EC2(name)
	return Target{
		Region: name, API: api, Read: api,
		Start:   func(string) *ebs.StartSnapshotInput { return &ebs.StartSnapshotInput{} },
		Made:    func(string) func() { return func() {} },
		Unknown: func(string) func() { return func() {} },
		Discard: func(context.Context, Stale) error { return nil },
		State: func(ctx context.Context, id string) (State, error) {
			out, err := control.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			switch {
			case awsx.Class(err) == awsx.NotYet:
				return Absent, nil
			case err != nil:
				return "", err
			case out.Snapshots[0].State == types.SnapshotStateCompleted:
				return Completed, nil
			default:
				return Pending, nil
			}
		},
	}, api, nil
}

// toCloud uploads to a region of the cloud and compares what it holds then.
func toCloud(t *testing.T, cloud *local.Server, name string, d *sparse.Disk, o Options) *Snapshot {
	t.Helper()
	target, api, err := region(t.Context(), cloud.Info().Endpoint, name)
	require.NoError(t, err)
	snap, err := Upload(t.Context(), d, target, o)
	require.NoError(t, err)
	identical(t, target, api, d, snap.ID)
	require.NoError(t, snap.Forget())
	return snap
}

// identical reads a snapshot back, byte by byte, and compares it with the disk:
// what the snapshot does not list must be zeros.
func identical(t *testing.T, target Target, api Reader, d *sparse.Disk, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		state, err := target.State(t.Context(), id)
		return err == nil && state == Completed
	}, 30*time.Second, 10*time.Millisecond)
	left := map[int64]bool{}
	for index := range sumsOf(t, d) {
		left[index] = true
	}
	want := make([]byte, d.BlockSize())
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(id), MaxResults: aws.Int32(100)}
	for {
		page, err := api.ListSnapshotBlocks(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, d.SizeGiB(), *page.VolumeSize)
		for _, b := range page.Blocks {
			out, err := api.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: aws.String(id), BlockIndex: b.BlockIndex, BlockToken: b.BlockToken})
			require.NoError(t, err)
			data, err := io.ReadAll(out.BlockData)
			require.NoError(t, err)
			index := int64(*b.BlockIndex)
			require.NoError(t, d.Read(index, want))
			require.True(t, string(want) == string(data), "block %d", index)
			delete(left, index)
		}
		if page.NextToken == nil {
			break
		}
		in.NextToken = page.NextToken
	}
	require.Empty(t, left, "blocks of the disk that the snapshot does not have")
}

func TestCloudHoldsTheDisk(t *testing.T) {
	cloud := startCloud(t)
	img := newImage(t, sparse.BlockSize, 150)
	img.clear(20)
	img.write(170, make([]byte, 5)) // the disk ends within a block
	full := toCloud(t, cloud, "us-east-1", img.open(), Options{})
	require.EqualValues(t, 149, full.SentBlocks)

	t.Run("throttled and broken", func(t *testing.T) {
		for _, r := range []fault.Rule{
			{Kind: fault.Throttle, Percent: 10, Seed: 1},
			{Kind: fault.LostReply, Percent: 2, Seed: 2},
			{Kind: fault.Error, Code: "InternalServerException", Status: 503, Percent: 2, Seed: 3},
		} {
			r.Action, r.Service = "PutSnapshotBlock", "ebs"
			_, err := cloud.Faults().Add(r)
			require.NoError(t, err)
		}
		defer cloud.Faults().Remove("")
		snap := toCloud(t, cloud, "us-east-1", img.open(), Options{})
		require.Equal(t, full.Checksum, snap.Checksum)
	})
	t.Run("several regions at once", func(t *testing.T) {
		d, sums := img.open(), &Sums{}
		var wg sync.WaitGroup
		for _, name := range []string{"eu-west-1", "eu-central-1", "ap-southeast-1"} {
			wg.Go(func() { toCloud(t, cloud, name, d, Options{Sums: sums}) })
		}
		wg.Wait()
	})
	t.Run("incremental", func(t *testing.T) {
		img.fill(3)
		img.fill(160)
		img.clear(4)
		snap := toCloud(t, cloud, "us-east-1", img.open(), Options{Parent: &Parent{SnapshotID: full.ID, Manifest: full.Manifest}})
		require.EqualValues(t, 3, snap.SentBlocks)
		// The same without a manifest: the parent is read back.
		again := toCloud(t, cloud, "us-east-1", img.open(), Options{Parent: &Parent{SnapshotID: full.ID}})
		require.True(t, again.Incremental)
		require.EqualValues(t, 3, again.SentBlocks)
		require.Equal(t, snap.Checksum, again.Checksum)
		// And on top of an incremental one.
		img.fill(5)
		next := toCloud(t, cloud, "us-east-1", img.open(), Options{Parent: &Parent{SnapshotID: again.ID}})
		require.EqualValues(t, 1, next.SentBlocks)
	})
}

// Variables that make the test binary the uploader that is killed.
const (
	childDisk     = "RIGHTIMAGE_TEST_UPLOAD"
	childJournal  = "RIGHTIMAGE_TEST_JOURNAL"
	childEndpoint = "RIGHTIMAGE_TEST_ENDPOINT"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childDisk); path != "" {
		if err := child(path); err != nil {
			slog.Error("upload", "error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(path string) error {
	d, err := sparse.Open(path)
	if err != nil {
		return err
	}
	target, _, err := region(context.Background(), os.Getenv(childEndpoint), "us-east-1")
	if err != nil {
		return err
	}
	_, err = Upload(context.Background(), d, target, Options{Journal: os.Getenv(childJournal)})
	return err
}

func TestKill9(t *testing.T) {
	cloud := startCloud(t)
	puts := func() int { return cloud.Faults().Calls()["ebs:PutSnapshotBlock"] }
	_, err := cloud.Faults().Add(fault.Rule{Action: "PutSnapshotBlock", Kind: fault.Delay, DelayMS: 25})
	require.NoError(t, err)
	for name, rebuild := range map[string][]int64{"same disk": nil, "rebuilt disk": {0, 1, 50}} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, sparse.BlockSize, 160)
			journal := filepath.Join(t.TempDir(), "journal")
			before := puts()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childDisk+"="+img.path, childJournal+"="+journal, childEndpoint+"="+cloud.Info().Endpoint)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			require.Eventually(t, func() bool { return puts()-before > 70 }, 30*time.Second, time.Millisecond)
			require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
			require.Error(t, cmd.Wait())
			require.Less(t, puts()-before, 160, "it was killed too late")
			data, err := os.ReadFile(journal)
			require.NoError(t, err)
			p, _ := parse(data)
			under := map[int64]bool{}
			for _, r := range p.records {
				under[r.index] = !r.done
			}
			open, done := 0, 0
			for _, is := range under {
				if is {
					open++
				} else {
					done++
				}
			}
			require.LessOrEqual(t, open, DefaultConcurrency)
			changed := 0
			for _, index := range rebuild {
				img.fill(index)
				if is, ok := under[index]; ok && !is {
					changed++
				}
			}
			snap := toCloud(t, cloud, "us-east-1", img.open(), Options{Journal: journal})
			require.True(t, snap.Resumed)
			require.Equal(t, p.snapshot, snap.ID)
			t.Logf("killed after %d blocks with %d under way; %d were sent then", done, open, snap.SentBlocks)
			require.EqualValues(t, 160-done+changed, snap.SentBlocks)
		})
	}
}
