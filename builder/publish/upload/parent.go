// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// errUnfit says why a parent is not used.
type errUnfit struct{ why string }

func (e *errUnfit) Error() string { return e.why }

// findParent looks whether the parent can be used. If not, that is said and the
// upload is a full one.
func (u *uploader) findParent(ctx context.Context) error {
	p := u.o.Parent
	if p == nil || p.SnapshotID == "" {
		return nil
	}
	manifest, err := u.checkParent(ctx, p)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		u.dropParent(err.Error())
		return nil
	}
	u.parent, u.below = manifest, p.SnapshotID
	return nil
}

func (u *uploader) dropParent(why string) {
	u.o.Say(fmt.Sprintf("the upload is a full one, not based on %s: %s", u.o.Parent.SnapshotID, why))
	u.parent, u.below = nil, ""
}

func (u *uploader) checkParent(ctx context.Context, p *Parent) (*Manifest, error) {
	if m := p.Manifest; m != nil {
		switch {
		case m.BlockSize != u.disk.BlockSize():
			return nil, &errUnfit{fmt.Sprintf("its manifest is for blocks of %d bytes", m.BlockSize)}
		case m.VolumeGiB > u.disk.SizeGiB():
			return nil, u.tooLarge(m.VolumeGiB)
		}
	} else if u.t.Read == nil {
		return nil, &errUnfit{"it has no manifest"}
	}
	state, err := u.t.State(ctx, p.SnapshotID)
	switch {
	case err != nil:
		return nil, err
	case state != Completed:
		return nil, &errUnfit{"it is " + string(state)}
	case p.Manifest != nil:
		return p.Manifest, nil
	}
	u.o.Say("reading " + p.SnapshotID + " back, since it has no manifest")
	return u.readBack(ctx, p.SnapshotID)
}

func (u *uploader) tooLarge(gib int64) error {
	return &errUnfit{fmt.Sprintf("it has %d GiB, the disk has %d", gib, u.disk.SizeGiB())}
}

// readBack makes the manifest of a snapshot by reading it.
func (u *uploader) readBack(ctx context.Context, id string) (*Manifest, error) {
	m := &Manifest{BlockSize: u.disk.BlockSize(), Sums: &sparse.Linear{}, Snapshots: map[string]string{u.t.Region: id}}
	group, workers := errgroup.WithContext(ctx)
	err := u.list(workers, id, func(page *ebs.ListSnapshotBlocksOutput) error {
		m.VolumeGiB = aws.ToInt64(page.VolumeSize)
		switch {
		case int64(aws.ToInt32(page.BlockSize)) != m.BlockSize:
			return &errUnfit{fmt.Sprintf("it has blocks of %d bytes", aws.ToInt32(page.BlockSize))}
		case m.VolumeGiB > u.disk.SizeGiB():
			return u.tooLarge(m.VolumeGiB)
		}
		for _, b := range page.Blocks {
			if err := u.try.gate.enter(workers); err != nil {
				return err
			}
			group.Go(func() error {
				defer u.try.gate.leave()
				sum, err := u.readBlock(workers, id, aws.ToInt32(b.BlockIndex), aws.ToString(b.BlockToken))
				if err == nil {
					m.Sums.Add(int64(aws.ToInt32(b.BlockIndex)), sum)
				}
				return err
			})
		}
		return nil
	})
	if failed := group.Wait(); failed != nil {
		err = failed
	}
	if err != nil {
		return nil, fmt.Errorf("read %s back: %w", id, err)
	}
	return m, nil
}

// list hands out the pages of blocks that a snapshot has.
func (u *uploader) list(ctx context.Context, id string, page func(*ebs.ListSnapshotBlocksOutput) error) error {
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(id)}
	for {
		var out *ebs.ListSnapshotBlocksOutput
		err := u.try.control(ctx, func(ctx context.Context) (err error) {
			out, err = u.t.Read.ListSnapshotBlocks(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
		if err := page(out); err != nil || out.NextToken == nil {
			return err
		}
		in.NextToken = out.NextToken
	}
}

// readBlock returns the sum of a block of a snapshot, which must be the one that
// the service gives.
func (u *uploader) readBlock(ctx context.Context, id string, index int32, token string) (sum sparse.Sum, err error) {
	err = u.try.block(ctx, func(ctx context.Context) error {
		out, err := u.t.Read.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{
			SnapshotId: aws.String(id), BlockIndex: aws.Int32(index), BlockToken: aws.String(token),
		})
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(out.BlockData, u.disk.BlockSize()+1))
		if err := errors.Join(err, out.BlockData.Close()); err != nil {
			return err
		}
		if int64(len(data)) != u.disk.BlockSize() {
			return io.ErrUnexpectedEOF
		}
		sum = sparse.Checksum(data)
		if want := aws.ToString(out.Checksum); want != sum.Base64() {
			return fmt.Errorf("block %d has the sum %s, and should have %s", index, sum.Base64(), want)
		}
		return nil
	})
	return sum, err
}
