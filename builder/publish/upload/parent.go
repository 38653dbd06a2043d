// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"context"
	"fmt"
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
			return nil, tooLarge(m.VolumeGiB, u.disk.SizeGiB())
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
	b := &back{api: u.t.Read, try: u.try, region: u.t.Region, block: u.disk.BlockSize(), most: u.disk.SizeGiB()}
	return b.manifest(ctx, p.SnapshotID)
}
