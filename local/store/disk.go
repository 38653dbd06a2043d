// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// The states of a volume. A volume is available as soon as it is made.
const (
	VolumeAvailable = "available"
	VolumeInUse     = "in-use"
)

// Volume is a disk of its own. Its data lies in DIR/volumes/vol-…/: base.raw is
// a hard link to the snapshot that it was made of, which may thus go, and
// disk.qcow2, made when a machine first has the volume, what was written since.
type Volume struct {
	ID         string            `json:"id"`
	SnapshotID string            `json:"snapshot_id,omitempty"`
	SizeGiB    int64             `json:"size_gib"`
	Type       string            `json:"type"`
	IOPS       int64             `json:"iops,omitempty"`
	Throughput int64             `json:"throughput,omitempty"`
	Encrypted  bool              `json:"encrypted,omitempty"`
	KmsKeyID   string            `json:"kms_key_id,omitempty"`
	Zone       string            `json:"zone"`
	Created    time.Time         `json:"created"`
	Tags       map[string]string `json:"tags,omitempty"`
	// Attachment is what the volume is attached to; no InstanceID: nothing.
	Attachment Attachment `json:"attachment,omitzero"`
	// Modified is when ModifyVolume last changed it, from Before.
	Modified time.Time   `json:"modified,omitzero"`
	Before   VolumeShape `json:"before,omitzero"`
	// ClientToken and RequestHash recognise a repeated CreateVolume.
	ClientToken string `json:"client_token,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
}

// VolumeShape is what ModifyVolume changes of a volume.
type VolumeShape struct {
	SizeGiB    int64  `json:"size_gib"`
	Type       string `json:"type"`
	IOPS       int64  `json:"iops,omitempty"`
	Throughput int64  `json:"throughput,omitempty"`
}

// Attachment ties a volume to an instance.
type Attachment struct {
	InstanceID          string    `json:"instance_id"`
	Device              string    `json:"device"`
	Time                time.Time `json:"time"`
	DeleteOnTermination bool      `json:"delete_on_termination"`
	// Leaving is true while the guest is asked to let go of the volume.
	Leaving bool `json:"leaving,omitempty"`
}

func (v Volume) key() string     { return v.ID }
func (v Volume) made() time.Time { return v.Created }

// State is the volume's state in EC2's words.
func (v Volume) State() string {
	if v.Attachment.InstanceID != "" {
		return VolumeInUse
	}
	return VolumeAvailable
}

// VolumePaths are the files of a volume: the raw base, which is not there for a
// volume that began blank, and the qcow2 file over it, which is not there for
// one that was never used.
func (s *Store) VolumePaths(id string) (base, disk string) {
	dir := filepath.Join(s.dir, "volumes", id)
	return filepath.Join(dir, "base.raw"), filepath.Join(dir, "disk.qcow2")
}

// CreateVolume makes the folder of the volume, then the record. The caller is
// inside Update and has checked the snapshot.
func (s *Store) CreateVolume(r *Region, v Volume) error {
	base, _ := s.VolumePaths(v.ID)
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return fmt.Errorf("create volume: %w", err)
	}
	if v.SnapshotID != "" {
		if err := os.Link(s.RawPath(r.Name, v.SnapshotID), base); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("create volume: %w", err)
		}
	}
	return r.Volumes.Put(v)
}

// DeleteVolume removes the record, then the data. An unknown id is no error.
func (s *Store) DeleteVolume(r *Region, id string) error {
	if err := r.Volumes.Delete(id); err != nil {
		return err
	}
	base, _ := s.VolumePaths(id)
	if err := os.RemoveAll(filepath.Dir(base)); err != nil {
		return fmt.Errorf("remove volume: %w", err)
	}
	return nil
}

// Attached returns the volumes of an instance, the root volume first.
func (r *Region) Attached(i Instance) []Volume {
	var out []Volume
	for _, d := range i.BlockDevices {
		v, ok := r.Volumes.Get(d.VolumeID)
		switch {
		case !ok:
		case d.DeviceName == i.Image.RootDeviceName:
			out = append([]Volume{v}, out...)
		default:
			out = append(out, v)
		}
	}
	return out
}

// Detach takes a volume from its instance.
func (r *Region) Detach(v Volume) error {
	if inst, ok := r.Instances.Get(v.Attachment.InstanceID); ok {
		inst.BlockDevices = slices.DeleteFunc(slices.Clone(inst.BlockDevices), func(d BlockDevice) bool { return d.VolumeID == v.ID })
		if err := r.Instances.Put(inst); err != nil {
			return err
		}
	}
	v.Attachment = Attachment{}
	return r.Volumes.Put(v)
}

// Release deletes the volumes of an instance that ends, and detaches those that
// are to stay. The caller is inside Update and puts the instance.
func (s *Store) Release(r *Region, inst *Instance) error {
	var errs []error
	for _, v := range r.Attached(*inst) {
		if v.Attachment.DeleteOnTermination {
			errs = append(errs, s.DeleteVolume(r, v.ID))
			continue
		}
		v.Attachment = Attachment{}
		errs = append(errs, r.Volumes.Put(v))
	}
	inst.BlockDevices = nil
	return errors.Join(errs...)
}

// Fill lets write fill the raw disk of a pending snapshot, which is there as one
// hole of the snapshot's size, works out the sum of each block that holds data,
// and seals the snapshot.
func (s *Store) Fill(region, id string, settle time.Duration, write func(raw string) error) error {
	v, err := s.volume(region, id)
	if err != nil {
		return err
	}
	if err := write(v.path + ".raw"); err != nil {
		return err
	}
	if err := v.sum(); err != nil {
		return err
	}
	return s.Seal(region, id, settle, func(int, Sum) error { return nil })
}

// sum works out the sums of what is in the raw file already.
func (v *volume) sum() error {
	disk, err := sparse.Open(v.path + ".raw")
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	buf := make([]byte, sparse.BlockSize)
	v.mu.Lock()
	defer v.mu.Unlock()
	for index, err := range disk.Blocks() {
		if err == nil {
			err = disk.Read(index, buf)
		}
		if err != nil {
			return fmt.Errorf("sum of block %d: %w", index, err)
		}
		if sparse.IsZero(buf) {
			continue
		}
		sum := Sum(sparse.Checksum(buf))
		if _, err := v.sumsF.WriteAt(sum[:], index*int64(len(sum))); err != nil {
			return fmt.Errorf("write sum of block %d: %w", index, err)
		}
		v.sums[index] = sum
	}
	return nil
}

// FromVolume tells a snapshot of a volume from one that was uploaded or copied.
func (s Snapshot) FromVolume() bool { return s.VolumeID != NoVolume }

// NoVolume is what EC2 shows for a snapshot that was not made of a volume.
const NoVolume = "vol-ffffffff"

// Unknown is when an image becomes ready that waits for snapshots of volumes:
// nobody knows yet.
func Unknown() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// FailSnapshot ends a pending snapshot in the state error.
func (s *Store) FailSnapshot(region, id, why string) error {
	return s.Update(region, func(r *Region) error {
		return change(r, id, func(snap *Snapshot) { snap.FailWith, snap.CompletedAt = why, s.now() })
	})
}
