// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// fake is a region that keeps what it is given and can fail any call: fail gets
// the action and how often it was called before.
type fake struct {
	blockStore // what is not written below is not called
	snapshotKeeper
	imageKeeper
	attributeKeeper
	accountReader
	parameterKeeper

	mu     sync.Mutex
	calls  map[string]int
	fail   func(action string, nth int) error
	lost   func(action string, nth int) bool // acts, then loses the reply
	snaps  map[string]string                 // id to publish id
	images map[string]types.Image
	blocks map[int32][]byte
	sealed *ebs.CompleteSnapshotInput
	reg    *ec2.RegisterImageInput
	slow   time.Duration // every call takes so long
	states []types.ImageState
}

func newFake() *fake {
	return &fake{calls: map[string]int{}, snaps: map[string]string{}, images: map[string]types.Image{}, blocks: map[int32][]byte{}}
}

// act counts a call, runs do unless the call is to fail, and answers.
func (f *fake) act(ctx context.Context, action string, do func() error) error {
	if f.slow > 0 {
		select {
		case <-time.After(f.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	nth := f.calls[action]
	f.calls[action]++
	if f.fail != nil {
		if err := f.fail(action, nth); err != nil {
			return err
		}
	}
	err := do()
	if f.lost != nil && f.lost(action, nth) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (f *fake) count(action string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[action]
}

func (f *fake) StartSnapshot(ctx context.Context, in *ebs.StartSnapshotInput, _ ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error) {
	out := &ebs.StartSnapshotOutput{BlockSize: aws.Int32(sparse.BlockSize)}
	return out, f.act(ctx, "StartSnapshot", func() error {
		for id, token := range f.snaps {
			if token == *in.ClientToken {
				out.SnapshotId = aws.String(id)
				return nil
			}
		}
		out.SnapshotId = aws.String(fmt.Sprintf("snap-%d", len(f.snaps)+1))
		f.snaps[*out.SnapshotId] = *in.ClientToken
		return nil
	})
}

func (f *fake) PutSnapshotBlock(ctx context.Context, in *ebs.PutSnapshotBlockInput, _ ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error) {
	return &ebs.PutSnapshotBlockOutput{}, f.act(ctx, "PutSnapshotBlock", func() error {
		data, err := io.ReadAll(in.BlockData)
		f.blocks[*in.BlockIndex] = data
		return err
	})
}

func (f *fake) CompleteSnapshot(ctx context.Context, in *ebs.CompleteSnapshotInput, _ ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error) {
	return &ebs.CompleteSnapshotOutput{}, f.act(ctx, "CompleteSnapshot", func() error {
		if f.sealed != nil {
			return apiError("ConflictException")
		}
		f.sealed = in
		return nil
	})
}

func (f *fake) DescribeSnapshots(ctx context.Context, in *ec2.DescribeSnapshotsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSnapshotsOutput, error) {
	out := &ec2.DescribeSnapshotsOutput{}
	return out, f.act(ctx, "DescribeSnapshots", func() error {
		for id, token := range f.snaps {
			byTag := len(in.Filters) > 0 && *in.Filters[0].Name == "tag:"+tagPublishID && slices.Contains(in.Filters[0].Values, token)
			if slices.Contains(in.SnapshotIds, id) || byTag {
				state := types.SnapshotStatePending
				if f.sealed != nil {
					state = types.SnapshotStateCompleted
				}
				out.Snapshots = append(out.Snapshots, types.Snapshot{SnapshotId: aws.String(id), State: state})
			}
		}
		return nil
	})
}

func (f *fake) DeleteSnapshot(ctx context.Context, in *ec2.DeleteSnapshotInput, _ ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error) {
	return &ec2.DeleteSnapshotOutput{}, f.act(ctx, "DeleteSnapshot", func() error {
		if _, ok := f.snaps[*in.SnapshotId]; !ok {
			return apiError("InvalidSnapshot.NotFound")
		}
		for _, i := range f.images {
			if slices.Contains(mappedSnapshots(i), *in.SnapshotId) {
				return apiError("InvalidSnapshot.InUse")
			}
		}
		delete(f.snaps, *in.SnapshotId)
		return nil
	})
}

func imageOn(id, name, snapshot, publishID string) types.Image {
	return types.Image{ImageId: &id, Name: &name, State: types.ImageStateAvailable, ImdsSupport: types.ImdsSupportValuesV20,
		Tags:                []types.Tag{{Key: aws.String(tagPublishID), Value: &publishID}},
		BlockDeviceMappings: []types.BlockDeviceMapping{{Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot}}}}
}

func (f *fake) RegisterImage(ctx context.Context, in *ec2.RegisterImageInput, _ ...func(*ec2.Options)) (*ec2.RegisterImageOutput, error) {
	out := &ec2.RegisterImageOutput{ImageId: aws.String("ami-1")}
	return out, f.act(ctx, "RegisterImage", func() error {
		if len(f.images) > 0 {
			return apiError("InvalidAMIName.Duplicate")
		}
		f.reg = in
		f.images["ami-1"] = imageOn("ami-1", *in.Name, *in.BlockDeviceMappings[0].Ebs.SnapshotId, tagOf(in.TagSpecifications[0].Tags, tagPublishID))
		return nil
	})
}

func (f *fake) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	out := &ec2.DescribeImagesOutput{}
	return out, f.act(ctx, "DescribeImages", func() error {
		for id, i := range f.images {
			if len(in.ImageIds) > 0 && !slices.Contains(in.ImageIds, id) {
				continue
			}
			if len(in.ImageIds) > 0 && len(f.states) > 0 {
				i.State, f.states = f.states[0], f.states[1:]
			}
			out.Images = append(out.Images, i)
		}
		return nil
	})
}

func (f *fake) DeregisterImage(ctx context.Context, in *ec2.DeregisterImageInput, _ ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error) {
	return &ec2.DeregisterImageOutput{}, f.act(ctx, "DeregisterImage", func() error {
		if _, ok := f.images[*in.ImageId]; !ok {
			return apiError("InvalidAMIID.NotFound")
		}
		delete(f.images, *in.ImageId)
		return nil
	})
}

func apiError(code string) error { return &smithy.GenericAPIError{Code: code, Message: "fake"} }

// recorder keeps what the user is told.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Say(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, s)
}

// diskOf writes a sparse disk with the given blocks.
func diskOf(t testing.TB, size int64, blocks map[int64]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	for index, value := range blocks {
		_, err = f.WriteAt([]byte{value}, index*sparse.BlockSize+7)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return path
}

// publisherOf wires a prepared publisher to fakes, one per region.
func publisherOf(t testing.TB, c Config, fakes ...*fake) *Publisher {
	t.Helper()
	for i := range fakes {
		c.Regions = append(c.Regions, fmt.Sprintf("eu-west-%d", i+1))
	}
	if c.AMIName == "" {
		c.AMIName = "test image"
	}
	require.Empty(t, c.Prepare())
	p, err := New(factoryOf(t), c, &recorder{})
	require.NoError(t, err)
	for i, f := range fakes {
		r := p.regions[i]
		r.blocks, r.snapshots, r.images, r.attributes, r.account, r.parameters = f, f, f, f, f, f
		r.explain = func(op, region string, err error) error {
			if err == nil {
				return nil
			}
			return fmt.Errorf("%s in %s: %w", op, region, err)
		}
	}
	return p
}

func factoryOf(t testing.TB) *awsx.Factory {
	t.Helper()
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIATEST", SecretKey: "hush-hush", EndpointURL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	return f
}

func openDisk(t testing.TB, path string) *sparse.Disk {
	t.Helper()
	d, err := sparse.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}
