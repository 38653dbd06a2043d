// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// memory is the service without a network.
type memory struct{ *service }

func (m memory) StartSnapshot(_ context.Context, in *ebs.StartSnapshotInput, _ ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error) {
	return m.start(in)
}

func (m memory) PutSnapshotBlock(ctx context.Context, in *ebs.PutSnapshotBlockInput, _ ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error) {
	data, err := io.ReadAll(in.BlockData)
	if err != nil {
		return nil, err
	}
	v, err := m.put(ctx, *in.SnapshotId, int64(*in.BlockIndex), data, *in.Checksum)
	switch {
	case err != nil:
		return nil, err
	case v == throttled:
		return nil, &ebstypes.RequestThrottledException{}
	case v == broken:
		return nil, &ebstypes.InternalServerException{}
	case v != fine:
		return nil, io.ErrUnexpectedEOF
	}
	return &ebs.PutSnapshotBlockOutput{}, nil
}

func (m memory) CompleteSnapshot(_ context.Context, in *ebs.CompleteSnapshotInput, _ ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error) {
	return &ebs.CompleteSnapshotOutput{}, m.complete(*in.SnapshotId, *in.ChangedBlocksCount, *in.Checksum)
}

// loser carries the first call of an action out and loses its reply.
type loser struct {
	memory
	action string
}

func (l *loser) lose(action string) error {
	if action == l.action && l.number(action) == 1 {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (l *loser) StartSnapshot(ctx context.Context, in *ebs.StartSnapshotInput, _ ...func(*ebs.Options)) (*ebs.StartSnapshotOutput, error) {
	out, err := l.memory.StartSnapshot(ctx, in)
	return out, errors.Join(err, l.lose("StartSnapshot"))
}

func (l *loser) CompleteSnapshot(ctx context.Context, in *ebs.CompleteSnapshotInput, _ ...func(*ebs.Options)) (*ebs.CompleteSnapshotOutput, error) {
	out, err := l.memory.CompleteSnapshot(ctx, in)
	return out, errors.Join(err, l.lose("CompleteSnapshot"))
}

// owner plays the caller: it keeps what it is told.
type owner struct {
	mu       sync.Mutex
	made     []string
	forgiven []string
	unknown  []string
	stale    []Stale
	lines    []string
}

// target is a region served by api.
func (o *owner) target(s *service, api Writer) Target {
	return Target{
		Region: "here-1",
		API:    api,
		Start: func(token string) *ebs.StartSnapshotInput {
			return &ebs.StartSnapshotInput{Tags: []ebstypes.Tag{{Key: aws.String("token"), Value: aws.String(token)}}}
		},
		Made: func(id string) func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.made = append(o.made, id)
			return func() {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.forgiven = append(o.forgiven, id)
			}
		},
		Unknown: func(token string) func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.unknown = append(o.unknown, token)
			return func() {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.unknown = o.unknown[:len(o.unknown)-1]
			}
		},
		State: s.state,
		Discard: func(_ context.Context, old Stale) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.stale = append(o.stale, old)
			return nil
		},
	}
}

func (o *owner) say(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line)
}

// inMemory uploads to a service without a network.
func inMemory(ctx context.Context, s *service, d *sparse.Disk, o Options) (*Snapshot, *owner, error) {
	var own owner
	o.Say = own.say
	snap, err := Upload(ctx, d, own.target(s, memory{s}), o)
	return snap, &own, err
}

// same compares a snapshot with the disk.
func (s *service) same(t testing.TB, d *sparse.Disk, id string) {
	t.Helper()
	require.Equal(t, sumsOf(t, d), s.content(id))
}
