// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package catalogue is the record that a build leaves for scripts: which image
// is where, what is in it and what it was made of. A file holds one entry (as
// beside a disk) or the entries of many builds (as catalogue_file does).
package catalogue

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FileName is the name of the file beside a finished disk.
const FileName = "rightimage-catalog.json"

// Entry is one build.
type Entry struct {
	// Name is the AMI's name; without an AMI, that of the build.
	Name string `json:"name"`
	// Family is what the template says, for finding the newest of several.
	Family string `json:"family,omitempty"`
	// Built is when the image was complete, in UTC.
	Built        time.Time `json:"built"`
	BuiltBy      string    `json:"built_by"`
	OS           OS        `json:"os"`
	Architecture string    `json:"architecture"`
	Source       Source    `json:"source"`
	// Disk is set when the build leaves a disk.
	Disk Disk `json:"disk,omitzero"`
	// DiskDigest is the digest of the disk that AMIs and provenance can be compared
	// by: see package proof/attest.
	DiskDigest string `json:"disk_digest,omitempty"`
	// Proofs are the files that say what is in the image and how it was made.
	Proofs []Proof `json:"proofs,omitempty"`
	// PublishID is the tag rightimage:publish-id of the AMIs.
	PublishID string `json:"publish_id,omitempty"`
	// Seconds is how long each part of the publication took.
	Seconds map[string]float64 `json:"seconds,omitempty"`
	// Images are the AMIs by region.
	Images map[string]Image `json:"images"`
}

// OS is the operating system as its os-release says.
type OS struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Name    string `json:"name"`
}

// Source is what the image was made of.
type Source struct {
	// URL of the disk, without secrets.
	URL      string `json:"url"`
	Checksum string `json:"checksum,omitempty"`
	// AMI is the source AMI, when there was one.
	AMI string `json:"ami,omitempty"`
}

// Disk is the disk that a build leaves.
type Disk struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Proof is a file beside the catalogue.
type Proof struct {
	// Kind is "sbom", "provenance" or "blocks".
	Kind string `json:"kind"`
	// File is a path; one that is not absolute begins at the catalogue's
	// directory.
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Image is the AMI of one region.
type Image struct {
	ImageID     string   `json:"image_id"`
	SnapshotIDs []string `json:"snapshot_ids"`
	// Checksum is the linear aggregate of an uploaded snapshot's block sums,
	// base64.
	Checksum string `json:"snapshot_checksum,omitempty"`
	// Encrypted tells whether all snapshots are encrypted, KmsKeyID with which
	// key the first of them is.
	Encrypted bool   `json:"encrypted"`
	KmsKeyID  string `json:"kms_key_id,omitempty"`
	// DeprecationTime is RFC 3339; "" when there is none.
	DeprecationTime string `json:"deprecation_time,omitempty"`
	// CopiedFrom is the region that the image was copied from.
	CopiedFrom string `json:"copied_from,omitempty"`
}

// Beside returns the entry as a catalogue at path has it: the paths of proofs in
// its directory begin there.
func (e Entry) Beside(path string) Entry {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return e
	}
	e.Proofs = slices.Clone(e.Proofs)
	for i, p := range e.Proofs {
		if rel, err := filepath.Rel(dir, p.File); err == nil && filepath.IsAbs(p.File) && !strings.HasPrefix(rel, "..") {
			e.Proofs[i].File = filepath.ToSlash(rel)
		}
	}
	return e
}

// Proof returns the path of a proof of an entry of the catalogue at path; ""
// when it has none of the kind.
func (e Entry) Proof(path, kind string) string {
	for _, p := range e.Proofs {
		if p.Kind != kind {
			continue
		}
		if filepath.IsAbs(p.File) {
			return p.File
		}
		return filepath.Join(filepath.Dir(path), filepath.FromSlash(p.File))
	}
	return ""
}

// Regions returns the regions of the entry, sorted.
func (e Entry) Regions() []string { return slices.Sorted(maps.Keys(e.Images)) }

// File is the entries of many builds, oldest first.
type File struct {
	// Version is that of the format: 1.
	Version int     `json:"version"`
	Entries []Entry `json:"entries"`
}

// Newest returns the entry of a family that was built last and has an image in
// the region. An empty architecture or region stands for any.
func (f File) Newest(family, architecture, region string) (Entry, bool) {
	for _, e := range slices.Backward(f.Entries) {
		_, here := e.Images[region]
		if e.Family == family && (architecture == "" || e.Architecture == architecture) &&
			len(e.Images) > 0 && (region == "" || here) {
			return e, true
		}
	}
	return Entry{}, false
}

// Put adds an entry. One of the same publish id gives way.
func (f *File) Put(e Entry) {
	f.Drop(e.PublishID)
	f.Entries = append(f.Entries, e)
	slices.SortStableFunc(f.Entries, func(a, b Entry) int { return a.Built.Compare(b.Built) })
}

// Drop removes the entry of a publish id.
func (f *File) Drop(publishID string) {
	f.Entries = slices.DeleteFunc(f.Entries, func(e Entry) bool { return publishID != "" && e.PublishID == publishID })
}

// Forget removes an image that is no more, and its entry when it was the last.
func (f *File) Forget(imageID string) {
	for _, e := range f.Entries {
		maps.DeleteFunc(e.Images, func(_ string, i Image) bool { return i.ImageID == imageID })
	}
	f.Entries = slices.DeleteFunc(f.Entries, func(e Entry) bool { return len(e.Images) == 0 })
}
