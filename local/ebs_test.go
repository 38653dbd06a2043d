// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func TestSnapshotRoundTrip(t *testing.T) {
	c := start(t, quiet(t))
	snap := c.snapshot("", map[int32]byte{0: 1, 7: 2, 2047: 3})

	list, err := c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &snap})
	require.NoError(t, err)
	require.Len(t, list.Blocks, 3)
	require.EqualValues(t, 1, *list.VolumeSize)
	require.EqualValues(t, store.BlockSize, *list.BlockSize)
	for i, want := range []struct {
		index int32
		seed  byte
	}{{0, 1}, {7, 2}, {2047, 3}} {
		require.Equal(t, want.index, *list.Blocks[i].BlockIndex)
		got, err := c.ebs.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &snap, BlockIndex: list.Blocks[i].BlockIndex, BlockToken: list.Blocks[i].BlockToken})
		require.NoError(t, err)
		data, err := io.ReadAll(got.BlockData)
		require.NoError(t, err)
		wantData, wantSum := block(want.seed)
		require.True(t, bytes.Equal(wantData, data))
		require.Equal(t, wantSum, *got.Checksum)
	}

	info, err := os.Stat(c.store.RawPath(region, snap))
	require.NoError(t, err)
	require.EqualValues(t, 1<<30, info.Size())
	require.Less(t, info.Sys().(*syscall.Stat_t).Blocks*512, int64(4<<20), "the raw file must be sparse")
}

func TestSnapshotPages(t *testing.T) {
	c := start(t, quiet(t))
	blocks := map[int32]byte{}
	for i := range int32(250) {
		blocks[i*3] = 1
	}
	snap := c.snapshot("", blocks)
	var seen []int32
	pages := ebs.NewListSnapshotBlocksPaginator(c.ebs, &ebs.ListSnapshotBlocksInput{SnapshotId: &snap, MaxResults: aws.Int32(100)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, b := range page.Blocks {
			seen = append(seen, *b.BlockIndex)
		}
	}
	require.Len(t, seen, 250)
	require.EqualValues(t, 249*3, seen[249])

	_, err := c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &snap, MaxResults: aws.Int32(99)})
	require.Equal(t, "ValidationException", codeOf(t, err))
	_, err = c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &snap, NextToken: aws.String("bm9wZQ==")})
	require.Equal(t, ebstypes.ValidationExceptionReasonInvalidPageToken, reasonOf(t, err))
}

func reasonOf(t *testing.T, err error) ebstypes.ValidationExceptionReason {
	t.Helper()
	var invalid *ebstypes.ValidationException
	require.Truef(t, errors.As(err, &invalid), "want a ValidationException, got %v", err)
	return invalid.Reason
}

func TestSnapshotOfParentStandsAlone(t *testing.T) {
	c := start(t, quiet(t))
	parent := c.snapshot("", map[int32]byte{0: 1, 1: 2})
	out, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(2), ParentSnapshotId: &parent})
	require.NoError(t, err)
	child := *out.SnapshotId
	require.NoError(t, c.put(child, 1, 9))
	require.NoError(t, c.put(child, 2050, 5))

	// The parent may go at any time.
	_, err = c.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &parent})
	require.NoError(t, err)
	_, err = c.ebs.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: &child, ChangedBlocksCount: aws.Int32(2)})
	require.NoError(t, err)

	list, err := c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &child})
	require.NoError(t, err)
	require.Len(t, list.Blocks, 3)
	raw, err := os.Open(c.store.RawPath(region, child))
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	for index, seed := range map[int64]byte{0: 1, 1: 9, 2050: 5} {
		got := make([]byte, store.BlockSize)
		_, err := raw.ReadAt(got, index*store.BlockSize)
		require.NoError(t, err)
		want, _ := block(seed)
		require.True(t, bytes.Equal(want, got), "block %d", index)
	}
	left, err := os.ReadDir(c.StateDirOf("snapshots"))
	require.NoError(t, err)
	require.Len(t, left, 3, "json, raw and sums of the child; no link to the parent")
}

// StateDirOf is a folder of the test's region.
func (c *cloud) StateDirOf(kind string) string {
	return c.store.Dir() + "/regions/" + region + "/" + kind
}

func TestChangedBlocks(t *testing.T) {
	c := start(t, quiet(t))
	first := c.snapshot("", map[int32]byte{0: 1, 1: 2})
	second := c.snapshot(first, map[int32]byte{1: 9, 3: 4})
	out, err := c.ebs.ListChangedBlocks(t.Context(), &ebs.ListChangedBlocksInput{FirstSnapshotId: &first, SecondSnapshotId: &second})
	require.NoError(t, err)
	require.Len(t, out.ChangedBlocks, 2)
	require.EqualValues(t, 1, *out.ChangedBlocks[0].BlockIndex)
	require.NotNil(t, out.ChangedBlocks[0].FirstBlockToken)
	require.EqualValues(t, 3, *out.ChangedBlocks[1].BlockIndex)
	require.Nil(t, out.ChangedBlocks[1].FirstBlockToken)
	_, err = c.ebs.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &second, BlockIndex: aws.Int32(3), BlockToken: out.ChangedBlocks[1].SecondBlockToken})
	require.NoError(t, err)
}

func TestCompleteChecksWhatWasWritten(t *testing.T) {
	c := start(t, quiet(t))
	out, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.NoError(t, err)
	h := sha256.New()
	for i, seed := range []byte{4, 5} {
		require.NoError(t, c.put(*out.SnapshotId, int32(i), seed))
		require.NoError(t, c.put(*out.SnapshotId, int32(i), seed), "a block may be written again")
		data, _ := block(seed)
		sum := sha256.Sum256(data)
		h.Write(sum[:])
	}
	in := func(count int32, sum string) *ebs.CompleteSnapshotInput {
		return &ebs.CompleteSnapshotInput{
			SnapshotId: out.SnapshotId, ChangedBlocksCount: &count, Checksum: &sum,
			ChecksumAlgorithm:         ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
			ChecksumAggregationMethod: ebstypes.ChecksumAggregationMethodChecksumAggregationLinear,
		}
	}
	good := base64.StdEncoding.EncodeToString(h.Sum(nil))
	_, err = c.ebs.CompleteSnapshot(t.Context(), in(3, good))
	require.ErrorContains(t, err, "2 blocks were written")
	_, err = c.ebs.CompleteSnapshot(t.Context(), in(2, base64.StdEncoding.EncodeToString(make([]byte, 32))))
	require.ErrorContains(t, err, "checksum")
	done, err := c.ebs.CompleteSnapshot(t.Context(), in(2, good))
	require.NoError(t, err)
	require.Equal(t, ebstypes.StatusCompleted, done.Status)
	_, err = c.ebs.CompleteSnapshot(t.Context(), in(2, good))
	require.NoError(t, err, "the answer may have been lost")
	require.Equal(t, ebstypes.ValidationExceptionReasonInvalidSnapshotId, reasonOf(t, c.put(*out.SnapshotId, 3, 1)))
}

func TestSnapshotSettlesAndTimesOut(t *testing.T) {
	cfg := quiet(t)
	var skip atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skip.Load())) }
	cfg.Settle = time.Minute
	c := start(t, cfg)
	state := func(id string) ec2types.SnapshotState {
		out, err := c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		require.NoError(t, err)
		return out.Snapshots[0].State
	}
	slow, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Timeout: aws.Int32(10)})
	require.NoError(t, err)
	snap := c.snapshot("", map[int32]byte{0: 1})
	require.Equal(t, ec2types.SnapshotStatePending, state(snap))
	_, err = c.ec2.RegisterImage(t.Context(), registration("too early", snap))
	require.Equal(t, "IncorrectState", codeOf(t, err))
	skip.Store(int64(2 * time.Minute))
	require.Equal(t, ec2types.SnapshotStateCompleted, state(snap))
	require.Equal(t, ec2types.SnapshotStatePending, state(*slow.SnapshotId))
	skip.Store(int64(11 * time.Minute))
	require.Equal(t, ec2types.SnapshotStateError, state(*slow.SnapshotId))
	require.Error(t, c.put(*slow.SnapshotId, 0, 1))
}

func TestStartSnapshotIsIdempotent(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: aws.String("once"), Tags: []ebstypes.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}
	first, err := c.ebs.StartSnapshot(t.Context(), in)
	require.NoError(t, err)
	c.stop()
	c = start(t, cfg)
	again, err := c.ebs.StartSnapshot(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, *first.SnapshotId, *again.SnapshotId)
	require.NoError(t, c.put(*again.SnapshotId, 0, 1), "an upload goes on after a restart")
	in.VolumeSize = aws.Int64(2)
	_, err = c.ebs.StartSnapshot(t.Context(), in)
	var conflict *ebstypes.ConflictException
	require.ErrorAs(t, err, &conflict)
}

func TestEBSRefusals(t *testing.T) {
	c := start(t, quiet(t))
	done := c.snapshot("", map[int32]byte{0: 1})
	pending, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.NoError(t, err)
	data, sum := block(1)
	put := func(tweak func(*ebs.PutSnapshotBlockInput)) error {
		in := &ebs.PutSnapshotBlockInput{
			SnapshotId: pending.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(data), DataLength: aws.Int32(store.BlockSize),
			Checksum: &sum, ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
		}
		tweak(in)
		_, err := c.ebs.PutSnapshotBlock(t.Context(), in)
		return err
	}
	for name, tc := range map[string]struct {
		err  error
		want ebstypes.ValidationExceptionReason
	}{
		"checksum":             {put(func(in *ebs.PutSnapshotBlockInput) { in.Checksum = aws.String("AAAA") }), "INVALID_BLOCK"},
		"index":                {put(func(in *ebs.PutSnapshotBlockInput) { in.BlockIndex = aws.Int32(2048) }), "INVALID_BLOCK"},
		"length":               {put(func(in *ebs.PutSnapshotBlockInput) { in.DataLength = aws.Int32(4) }), "INVALID_PARAMETER_VALUE"},
		"short data":           {put(func(in *ebs.PutSnapshotBlockInput) { in.BlockData = bytes.NewReader(data[:100]) }), "INVALID_BLOCK"},
		"completed":            {c.put(done, 0, 1), "INVALID_SNAPSHOT_ID"},
		"malformed":            {c.put("vol-1", 0, 1), "INVALID_SNAPSHOT_ID"},
		"too large":            {second(c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1 << 40)})), "INVALID_VOLUME_SIZE"},
		"encrypted and parent": {second(c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Encrypted: aws.Bool(true), ParentSnapshotId: aws.String("snap-1")})), "INVALID_PARAMETER_VALUE"},
		"reading pending":      {second(c.ebs.ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: pending.SnapshotId})), "INVALID_SNAPSHOT_ID"},
		"block token":          {second(c.ebs.GetSnapshotBlock(t.Context(), &ebs.GetSnapshotBlockInput{SnapshotId: &done, BlockIndex: aws.Int32(0), BlockToken: aws.String("x")})), "INVALID_BLOCK_TOKEN"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, reasonOf(t, tc.err)) })
	}
	var absent *ebstypes.ResourceNotFoundException
	require.ErrorAs(t, c.put("snap-00000000000000000", 0, 1), &absent)
	require.Equal(t, ebstypes.ResourceNotFoundExceptionReasonSnapshotNotFound, absent.Reason)
}

func second[T any](_ T, err error) error { return err }
