// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// start starts a snapshot. After a run that died before it knew the id of its
// snapshot the same token finds that again; it is of no use when the request is
// not the same any more. Should the service refuse the parent, the snapshot is a
// full one.
func (u *uploader) start(ctx context.Context, old *past) (*sender, error) {
	h := u.header(uuid.NewString())
	if old != nil {
		h = old.header
	}
	id, made, err := u.startSnapshot(ctx, h)
	if err != nil && old != nil && u.refused(ctx, err) {
		u.discard(ctx, old, err.Error())
		h = u.header(uuid.NewString())
		id, made, err = u.startSnapshot(ctx, h)
	}
	if err != nil && u.parent != nil && u.refused(ctx, err) {
		u.dropParent("the service refuses it: " + err.Error())
		h = u.header(uuid.NewString())
		id, made, err = u.startSnapshot(ctx, h)
	}
	if err != nil {
		return nil, fmt.Errorf("start snapshot: %w", err)
	}
	s := u.sender(id, h)
	if old != nil && h.Token == old.Token {
		s.resumed, old.snapshot = true, id
		u.forgive()
		u.forgive = made
	}
	return s, nil
}

// refused reports whether the service does not want a request as it is.
func (u *uploader) refused(ctx context.Context, err error) bool {
	return context.Cause(ctx) == nil && !ruleFor(err).again
}

// startSnapshot starts a snapshot. Repeated calls carry the same token, so that
// a lost reply does not leave a second snapshot.
func (u *uploader) startSnapshot(ctx context.Context, h header) (id string, made func(), err error) {
	if err := u.journal.begin(h); err != nil {
		return "", nil, err
	}
	in := u.t.Start(h.Token)
	in.VolumeSize, in.ClientToken = aws.Int64(h.VolumeGiB), aws.String(h.Token)
	if u.below != "" {
		// The snapshot inherits the encryption of its parent; to give both is an
		// error.
		in.ParentSnapshotId, in.Encrypted, in.KmsKeyArn = aws.String(u.below), nil, nil
	}
	forgive := u.t.Unknown(h.Token)
	var out *ebs.StartSnapshotOutput
	err = u.try.control(ctx, func(ctx context.Context) (err error) {
		out, err = u.t.API.StartSnapshot(ctx, in)
		return err
	})
	if err != nil {
		// When we were stopped, err may be the reason for that and not this call's.
		if context.Cause(ctx) == nil && ruleFor(err).nothing {
			forgive()
		}
		return "", nil, err
	}
	id = aws.ToString(out.SnapshotId)
	made = u.t.Made(id)
	forgive()
	if n := int64(aws.ToInt32(out.BlockSize)); n != u.disk.BlockSize() {
		return "", nil, fmt.Errorf("the service wants blocks of %d bytes, this program has blocks of %d", n, u.disk.BlockSize())
	}
	return id, made, u.journal.name(id)
}

// sender makes what fills a snapshot.
func (u *uploader) sender(id string, h header) *sender {
	var below *sparse.Linear
	if u.parent != nil {
		below = u.parent.Sums
	}
	u.try.started(h.Started)
	return &sender{u: u, snapshot: id, token: h.Token, content: newContent(u.disk.BlockSize(), below), buffers: buffers{size: u.disk.BlockSize()}}
}

// resume goes on with the snapshot of an earlier run. It returns nil when there
// is none that fits.
func (u *uploader) resume(ctx context.Context, old *past) (*sender, error) {
	if old == nil {
		return nil, nil
	}
	why := old.fits(u.header(old.Token))
	if why == "" && old.snapshot == "" {
		return u.start(ctx, old)
	}
	var state State
	if why == "" {
		var err error
		if state, err = u.t.State(ctx, old.snapshot); err != nil {
			return nil, fmt.Errorf("look at snapshot %s of an earlier run: %w", old.snapshot, err)
		}
		if state != Pending && state != Completed {
			why = "its snapshot " + old.snapshot + " is " + string(state)
		}
	}
	if why != "" {
		u.discard(ctx, old, why)
		return nil, nil
	}
	s := u.sender(old.snapshot, old.header)
	s.resumed, s.sealed = true, state == Completed
	for _, r := range old.records {
		if r.done {
			s.content.stored(r.index, r.sum)
		} else {
			s.content.doubt(r.index)
		}
	}
	u.o.Say(fmt.Sprintf("going on with %s, which an earlier run left behind with %d blocks", old.snapshot, s.content.written.Len()))
	return s, nil
}

// discard gives up the snapshot of an earlier run.
func (u *uploader) discard(ctx context.Context, old *past, why string) {
	u.o.Say("starting over instead of going on with the upload of " + old.Started.Format(time.DateTime) + ": " + why)
	if err := u.t.Discard(ctx, Stale{SnapshotID: old.snapshot, Token: old.Token, Why: why}); err != nil {
		u.o.Say(fmt.Sprintf("the snapshot of an earlier run cannot be deleted (%s, token %s): %v", orNone(old.snapshot), old.Token, err))
		return
	}
	u.forgive()
}

// startOver reports whether the snapshot of an earlier run turned out to be of
// no use, in a way that a new one would not.
func startOver(ctx context.Context, err error) bool {
	var file *fs.PathError // of the disk or the journal
	if context.Cause(ctx) != nil || errors.As(err, &file) {
		return false
	}
	switch awsx.Class(err) {
	case awsx.NotYet, awsx.Conflict, awsx.Fatal:
		return true
	default:
		return false
	}
}
