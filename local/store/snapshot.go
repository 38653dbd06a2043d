// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrNotFound is returned for a snapshot that is not, or no longer, there.
var ErrNotFound = errors.New("not found")

// CreateSnapshot makes the data files, then the record. The caller is inside
// Update, has checked the parent and filled in the record.
func (s *Store) CreateSnapshot(r *Region, snap Snapshot) error {
	parent := ""
	if snap.ParentID != "" {
		parent = s.volumePath(r.Name, snap.ParentID)
	}
	path := s.volumePath(r.Name, snap.ID)
	if err := createVolume(path, snap.SizeGiB, parent); err != nil {
		return err
	}
	if err := r.Snapshots.Put(snap); err != nil {
		return errors.Join(err, removeVolume(path))
	}
	return nil
}

// CopySnapshot makes the record of a copy, whose data are hard links to those of
// the completed snapshot: neither changes any more. The caller is inside Update.
func (s *Store) CopySnapshot(r *Region, snap Snapshot, fromRegion, fromID string) error {
	from, path := s.volumePath(fromRegion, fromID), s.volumePath(r.Name, snap.ID)
	for _, ext := range []string{".raw", ".sums"} {
		if err := os.Link(from+ext, path+ext); err != nil {
			return errors.Join(fmt.Errorf("copy snapshot data: %w", err), removeVolume(path))
		}
	}
	if err := r.Snapshots.Put(snap); err != nil {
		return errors.Join(err, removeVolume(path))
	}
	return nil
}

// DeleteSnapshot removes the record, then the data. The caller is inside
// Update and has checked that nothing uses the snapshot.
func (s *Store) DeleteSnapshot(r *Region, id string) error {
	if err := r.Snapshots.Delete(id); err != nil {
		return err
	}
	path := s.volumePath(r.Name, id)
	s.volMu.Lock()
	defer s.volMu.Unlock()
	if v, ok := s.volumes[path]; ok {
		delete(s.volumes, path)
		_ = v.close()
	}
	return removeVolume(path)
}

// Snapshot returns a snapshot with its state at this moment.
func (s *Store) Snapshot(r *Region, id string) (Snapshot, bool) {
	snap, ok := r.Snapshots.Get(id)
	if !ok {
		return snap, false
	}
	return s.withState(r, snap), true
}

// Snapshots returns all snapshots of a region with their states.
func (s *Store) Snapshots(r *Region) []Snapshot {
	all := r.Snapshots.All()
	for i := range all {
		all[i] = s.withState(r, all[i])
	}
	return all
}

// withState tells the state from what is stored: an accepted snapshot shows
// itself completed a moment later, and an upload that stands still is cancelled.
func (s *Store) withState(r *Region, snap Snapshot) Snapshot {
	now := s.now()
	switch {
	case snap.FailWith != "" && !now.Before(snap.CompletedAt):
		snap.State, snap.StateMessage = SnapshotError, snap.FailWith
	case snap.Sealed && !snap.CompletedAt.IsZero() && !now.Before(snap.CompletedAt):
		snap.State = SnapshotCompleted
	case snap.Sealed || now.Before(s.lastWrite(r, snap).Add(snap.Timeout)):
		snap.State = SnapshotPending
	default:
		snap.State = SnapshotError
		snap.StateMessage = "The upload stood still for longer than the snapshot's timeout"
	}
	return snap
}

func (s *Store) lastWrite(r *Region, snap Snapshot) time.Time {
	info, err := os.Stat(s.volumePath(r.Name, snap.ID) + ".sums")
	if err != nil || info.ModTime().Before(snap.StartTime) {
		return snap.StartTime
	}
	return info.ModTime()
}

// RawPath is the raw disk of a completed snapshot.
func (s *Store) RawPath(region, id string) string { return s.volumePath(region, id) + ".raw" }

// PutBlock writes one block; the caller has checked index and sum.
func (s *Store) PutBlock(region, id string, index int, data []byte, sum Sum) error {
	v, err := s.volume(region, id)
	if err != nil {
		return err
	}
	return v.put(index, data, sum)
}

// GetBlock reads one block and its sum.
func (s *Store) GetBlock(region, id string, index int) ([]byte, Sum, error) {
	v, err := s.volume(region, id)
	if err != nil {
		return nil, Sum{}, err
	}
	return v.get(index)
}

// Sums returns the sum of each block; zero where there is none.
func (s *Store) Sums(region, id string) ([]Sum, error) {
	v, err := s.volume(region, id)
	if err != nil {
		return nil, err
	}
	return v.all(), nil
}

// Seal makes a pending snapshot final when verify agrees; it shows itself
// completed after settle. The record says so before the parent's blocks are
// copied: a server that dies in between finishes the copy at its next start.
func (s *Store) Seal(region, id string, settle time.Duration, verify func(written int, aggregate Sum) error) error {
	v, err := s.volume(region, id)
	if err != nil {
		return err
	}
	if err := v.seal(verify); err != nil {
		return err
	}
	if err := s.Update(region, func(r *Region) error {
		return change(r, id, func(snap *Snapshot) { snap.Sealed = true })
	}); err != nil {
		return err
	}
	n, err := v.merge()
	if err != nil {
		return err
	}
	return s.Update(region, func(r *Region) error {
		return change(r, id, func(snap *Snapshot) { snap.CompletedAt, snap.DataBytes = s.now().Add(settle), n })
	})
}

func change(r *Region, id string, f func(*Snapshot)) error {
	snap, ok := r.Snapshots.Get(id)
	if !ok {
		return fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
	}
	f(&snap)
	return r.Snapshots.Put(snap)
}

// finish completes the snapshots whose completion was cut off by a crash.
func (s *Store) finish(r *Region) error {
	for _, snap := range r.Snapshots.All() {
		if !snap.Sealed || !snap.CompletedAt.IsZero() {
			continue
		}
		v, err := s.volume(r.Name, snap.ID)
		if err != nil {
			return err
		}
		n, err := v.merge()
		if err != nil {
			return err
		}
		if err := change(r, snap.ID, func(c *Snapshot) { c.CompletedAt, c.DataBytes = s.now(), n }); err != nil {
			return err
		}
	}
	return nil
}

// volume opens the data of a snapshot once and keeps it open.
func (s *Store) volume(region, id string) (*volume, error) {
	path := s.volumePath(region, id)
	s.volMu.Lock()
	defer s.volMu.Unlock()
	if v, ok := s.volumes[path]; ok {
		return v, nil
	}
	v, err := openVolume(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	s.volumes[path] = v
	return v, nil
}

func (s *Store) volumePath(region, id string) string {
	return filepath.Join(s.dir, "regions", region, "snapshots", id)
}
