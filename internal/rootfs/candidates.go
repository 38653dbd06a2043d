// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rootfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
)

// ErrNotFound says that no partition can be the root file system.
var ErrNotFound = errors.New("no root file system found")

// Candidate is a partition, or the whole disk (Number 0), with its file system.
type Candidate struct {
	parttable.Partition
	FS FS
}

// String describes the candidate for error messages.
func (c Candidate) String() string {
	kind := c.FS.Type
	if kind == "" {
		kind = "no known file system"
	}
	name := "the whole disk"
	if c.Number > 0 {
		name = fmt.Sprintf("partition %d", c.Number)
	}
	text := fmt.Sprintf("%s: %s, %s", name, kind, Bytes(c.Size))
	if label := cmp.Or(c.FS.Label, c.Name); label != "" {
		text += fmt.Sprintf(", label %q", label)
	}
	return text
}

// Scan probes every partition of the disk, or the disk itself when it has no
// table.
func Scan(r io.ReaderAt, size int64, table parttable.Table) ([]Candidate, error) {
	parts := table.Partitions
	if table.Scheme == parttable.None {
		parts = []parttable.Partition{{Size: size}}
	}
	out := make([]Candidate, 0, len(parts))
	for _, p := range parts {
		if p.Extended() {
			continue
		}
		fs, err := Probe(r, p.Start, p.Size)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
		out = append(out, Candidate{Partition: p, FS: fs})
	}
	return out, nil
}

// Ranked returns the candidates that may hold the root, the likeliest first. A
// number other than 0 leaves only that partition.
func Ranked(all []Candidate, number int) ([]Candidate, error) {
	if number > 0 {
		return chosen(all, number)
	}
	var out []Candidate
	for _, c := range all {
		if c.FS.Supported() {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, NotFound(all)
	}
	slices.SortStableFunc(out, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(score(b), score(a)), cmp.Compare(b.Size, a.Size))
	})
	return out, nil
}

func chosen(all []Candidate, number int) ([]Candidate, error) {
	for _, c := range all {
		if c.Number != number {
			continue
		}
		if !c.FS.Supported() {
			return nil, fmt.Errorf("root_partition = %d: %s: only ext2, ext3, ext4 and xfs are supported", number, c)
		}
		return []Candidate{c}, nil
	}
	return nil, fmt.Errorf("root_partition = %d: there is no such partition; partitions seen: %s", number, List(all))
}

// NotFound is the error for a disk without a root file system; it says what was
// seen instead and what the user can do.
func NotFound(all []Candidate) error {
	hint := "set root_partition = N to choose one"
	for _, c := range all {
		switch c.FS.Type {
		case "LVM2_member", "crypto_LUKS", "btrfs":
			hint = c.FS.Type + " is not supported; use an image with ext4 or xfs in a plain partition"
		}
	}
	return fmt.Errorf("%w: partitions seen: %s; %s", ErrNotFound, List(all), hint)
}

// List describes candidates in one line.
func List(all []Candidate) string {
	if len(all) == 0 {
		return "none"
	}
	texts := make([]string, len(all))
	for i, c := range all {
		texts[i] = "(" + c.String() + ")"
	}
	return strings.Join(texts, ", ")
}

// rootTypes are the GPT types of root partitions in the Discoverable Partitions
// Specification.
func rootTypes() []string {
	return []string{
		"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", // x86-64
		"b921b045-1df0-41c3-af44-4c6f280d3fae", // arm64
		"44479540-f297-41b2-9af7-d131d5f0458a", // x86
		"69dad710-2ce4-4e3c-b16c-21a1d49abed3", // arm
	}
}

// score orders candidates by how surely they say that they are the root.
func score(c Candidate) int {
	n := 0
	if slices.Contains(rootTypes(), c.Type) {
		n += 4
	}
	for _, label := range []string{c.FS.Label, c.Name} {
		switch strings.ToLower(label) {
		case "root", "/", "cloudimg-rootfs", "rootfs", "debian-root":
			n += 2
		case "boot", "/boot", "home", "/home", "var", "/var", "swap":
			n -= 2
		}
	}
	return n
}

// Bytes formats a size for people.
func Bytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", (n+1<<29)>>30)
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", (n+1<<19)>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}

// Clear reports whether the first of two ranked candidates says more surely
// than the second that it is the root.
func Clear(first, second Candidate) bool { return score(first) > score(second) }
