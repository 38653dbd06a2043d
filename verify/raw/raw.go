// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package raw looks at a raw disk below its file systems: at what was deleted,
// at journals, swap areas, and the gaps between partitions. Whoever launches an
// image can read all of that from its root device.
package raw

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

// Options say how a disk is looked at.
type Options struct {
	// Public is true for a disk that everybody will be able to read.
	Public bool
	// Needles are secrets of the build.
	Needles []secrets.Needle
	// Waivers accept findings.
	Waivers []verify.Waiver
	// Now is the day that waivers are compared with. Default: today.
	Now time.Time
	// Progress is called with the bytes that were read and those there are.
	Progress func(done, total int64)
}

// Run looks at a raw disk. It only reads, and needs no privileges but to read
// the file.
func Run(ctx context.Context, path string, o Options) (*verify.Report, error) {
	d, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // only read
	return Search(ctx, d, path, o)
}

// Disk is what is looked at: a raw file (*sparse.Disk), or a snapshot that is
// read from afar.
type Disk interface {
	io.ReaderAt
	// Size and BlockSize are in bytes.
	Size() int64
	BlockSize() int64
	// Blocks yields the blocks that may hold data, ascending.
	Blocks() iter.Seq2[int64, error]
	// Read fills buf with one block.
	Read(index int64, buf []byte) error
}

// Search looks at a disk that is open; target is how the report calls it.
func Search(ctx context.Context, d Disk, target string, o Options) (*verify.Report, error) {
	started := time.Now()
	if o.Now.IsZero() {
		o.Now = started
	}
	s := &scan{disk: d, o: o, report: &verify.Report{Target: target, Public: o.Public, Findings: []verify.Finding{}}}
	for _, c := range verify.Checks() {
		if c.Class == verify.Raw {
			s.report.Checks = append(s.report.Checks, c.ID)
		}
	}
	s.layout()
	if err := s.search(ctx); err != nil {
		return nil, err
	}
	s.summarise()
	s.report.Seconds = time.Since(started).Seconds()
	s.report.Sort()
	s.report.Waive(o.Waivers, o.Now)
	return s.report, nil
}

// scan is one run.
type scan struct {
	disk   Disk
	o      Options
	report *verify.Report
	areas  []area
}

// area is a stretch of the disk with one meaning.
type area struct {
	start, end int64
	what       string // "partition 2 (ext4)", "the gap behind partition 1"
	fs         rootfs.FS
	// used tells what a byte of the area belongs to; nil when nobody knows.
	used func(off int64) use
	// free counts the bytes of free blocks that are not zero.
	free int64
}

// use is what a block of a file system is for.
type use int

const (
	unknown use = iota
	free
	allocated
	journal
)

// tell adds a finding.
func (s *scan) tell(id string, severity verify.Severity, where, format string, args ...any) {
	c := verify.Find(id)
	if c.Public && !s.o.Public && severity > verify.Info {
		severity--
	}
	s.report.Findings = append(s.report.Findings, verify.Finding{
		Check: id, Severity: severity, Path: where, Evidence: fmt.Sprintf(format, args...), Remedy: c.Remedy,
	})
}

func (s *scan) skip(id, why string) {
	s.report.Skipped = append(s.report.Skipped, verify.Skipped{Check: id, Why: why})
}

// at returns the area that a byte lies in.
func (s *scan) at(off int64) *area {
	for i := range s.areas {
		if a := &s.areas[i]; off >= a.start && off < a.end {
			return a
		}
	}
	return nil
}

// partitions reads the table; a disk without one is one file system.
func (s *scan) partitions() (parttable.Table, []rootfs.Candidate, error) {
	r := s.disk
	table, err := parttable.Read(r, s.disk.Size())
	if err != nil {
		return table, nil, err
	}
	all, err := rootfs.Scan(r, s.disk.Size(), table)
	return table, all, err
}
