// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Upload makes a snapshot of the disk: starts it or goes on with that of a run
// that died, stores every block that it does not hold yet, completes it. The
// caller waits for the snapshot and, on an error, deletes what Target.Made and
// Target.Unknown told.
func Upload(ctx context.Context, disk *sparse.Disk, t Target, o Options) (*Snapshot, error) {
	o = o.withDefaults()
	ctx, try, stop := newTries(ctx, o)
	defer stop()
	u := &uploader{disk: disk, t: t, o: o, try: try, desks: make(chan struct{}, desksPerCPU*runtime.GOMAXPROCS(0))}
	snap, err := u.run(ctx)
	if err != nil {
		// The snapshot will be deleted, so nobody can go on with it.
		return nil, errors.Join(err, u.journal.remove())
	}
	return snap, nil
}

// desksPerCPU is how many blocks are read and hashed at a time, per processor:
// two, so that one is hashed while another one is read.
const desksPerCPU = 2

// uploader is one run of Upload.
type uploader struct {
	disk    *sparse.Disk
	t       Target
	o       Options
	try     *tries
	desks   chan struct{}
	journal *journal
	parent  *Manifest // nil for a full upload
	below   string    // the parent's id
	forgive func()    // what an earlier run made
}

// run is the whole story.
func (u *uploader) run(ctx context.Context) (*Snapshot, error) {
	old, err := u.open()
	if err != nil {
		return nil, err
	}
	if err := u.findParent(ctx); err != nil {
		return nil, err
	}
	s, err := u.resume(ctx, old)
	if err != nil {
		return nil, err
	}
	if s != nil {
		snap, err := u.fill(ctx, s)
		if err == nil || !s.resumed || !startOver(ctx, err) {
			return snap, err
		}
		u.discard(ctx, old, err.Error())
	}
	if s, err = u.start(ctx, nil); err != nil {
		return nil, err
	}
	return u.fill(ctx, s)
}

// open opens the journal. What an earlier run made is the caller's to delete
// from now on.
func (u *uploader) open() (*past, error) {
	journal, old, err := openJournal(u.o.Journal)
	if err != nil {
		return nil, err
	}
	u.journal = journal
	switch {
	case old == nil:
	case old.snapshot == "":
		u.forgive = u.t.Unknown(old.Token)
	default:
		u.forgive = u.t.Made(old.snapshot)
	}
	return old, nil
}

// fill stores what is missing in the snapshot and completes it.
func (u *uploader) fill(ctx context.Context, s *sender) (*Snapshot, error) {
	for _, err := range s.content.work(u.disk) {
		if err != nil {
			return nil, err
		}
		s.total++
	}
	finished := s.report()
	err := s.run(ctx)
	finished()
	if err != nil {
		return nil, fmt.Errorf("upload to %s: %w", s.snapshot, err)
	}
	if !s.sealed {
		if err := u.complete(ctx, s); err != nil {
			return nil, fmt.Errorf("complete %s: %w", s.snapshot, err)
		}
	}
	return u.result(s), nil
}

// result says what was made.
func (u *uploader) result(s *sender) *Snapshot {
	return &Snapshot{
		ID: s.snapshot, Token: s.token, Checksum: s.data.Aggregate().Base64(),
		Resumed: s.resumed, Incremental: u.parent != nil,
		SentBlocks: s.sent.Load(), SentBytes: s.sent.Load() * u.disk.BlockSize(), TotalBlocks: int64(s.data.Len()),
		Manifest: &Manifest{
			BlockSize: u.disk.BlockSize(), VolumeGiB: u.disk.SizeGiB(), Sums: &s.data,
			Snapshots: map[string]string{u.t.Region: s.snapshot},
		},
		forget: u.journal.remove,
	}
}

// header is what the journal says about this run.
func (u *uploader) header(token string) header {
	in := u.t.Start(token)
	h := header{
		Token: token, Started: time.Now(), VolumeGiB: u.disk.SizeGiB(), BlockSize: u.disk.BlockSize(),
		Parent: u.below, Encrypted: in.Encrypted,
	}
	if in.KmsKeyArn != nil {
		h.KmsKey = *in.KmsKeyArn
	}
	return h
}
