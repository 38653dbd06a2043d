// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package raw

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

// piece is a stretch of data that one worker searches.
type piece struct{ from, to int64 }

const (
	// pieceSize keeps several workers busy.
	pieceSize = 32 << 20
	// overlap lets a find on the border of two pieces be whole in one of them.
	overlap = 32 << 10
)

// pieces cuts the data of the disk; holes divide it, since they are zero.
func (s *scan) pieces() ([]piece, int64, error) {
	var out []piece
	total := int64(0)
	size := s.disk.BlockSize()
	for index, err := range s.disk.Blocks() {
		if err != nil {
			return nil, 0, err
		}
		from, to := index*size, min((index+1)*size, s.disk.Size())
		total += to - from
		if n := len(out); n > 0 && out[n-1].to == from && out[n-1].to-out[n-1].from < pieceSize {
			out[n-1].to = to
			continue
		}
		out = append(out, piece{from, to})
	}
	return out, total, nil
}

// find is something found at a byte of the disk.
type find struct {
	secrets.Hit
	at int64
}

// search reads all data of the disk once, several pieces at a time.
func (s *scan) search(ctx context.Context) error {
	pieces, total, err := s.pieces()
	if err != nil {
		return err
	}
	set := secrets.Compile(s.o.Needles)
	jobs := make(chan piece)
	var mu sync.Mutex
	var finds []find
	var failed error
	var done atomic.Int64
	used := make([]atomic.Int64, len(s.areas))
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			scanner := set.Scanner()
			for p := range jobs {
				r := &meter{r: io.NewSectionReader(s.disk, p.from, min(p.to+overlap, s.disk.Size())-p.from), s: s, at: p.from, to: p.to, used: used}
				err := scanner.Scan(r, func(h secrets.Hit) {
					if h.Offset < p.to-p.from && !h.Guess {
						mu.Lock()
						finds = append(finds, find{h, p.from + h.Offset})
						mu.Unlock()
					}
				})
				if err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
				n := done.Add(p.to - p.from)
				if s.o.Progress != nil {
					mu.Lock()
					s.o.Progress(n, total)
					mu.Unlock()
				}
			}
		})
	}
	for _, p := range pieces {
		if ctx.Err() != nil {
			break
		}
		jobs <- p
	}
	close(jobs)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i := range s.areas {
		s.areas[i].free = used[i].Load()
	}
	s.report.Bytes = total
	s.judge(finds)
	return failed
}

// meter counts the bytes of free blocks that are not zero as they are read.
type meter struct {
	r    io.Reader
	s    *scan
	at   int64
	to   int64
	used []atomic.Int64
}

// unit is the least that file systems allocate on images.
const unit = 4096

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	for i := 0; i < n; {
		off := m.at + int64(i)
		end := min(n, i+int(unit-off%unit))
		if off < m.to && !sparse.IsZero(p[i:end]) {
			for k := range m.s.areas {
				if a := &m.s.areas[k]; off >= a.start && off < a.end && a.used != nil && a.used(off) == free {
					m.used[k].Add(int64(end - i))
				}
			}
		}
		i = end
	}
	m.at += int64(n)
	return n, err
}

// mostFinds bounds how many finds of one kind are told for an area.
const mostFinds = 10

// judge decides what a find means by the block that it is in.
func (s *scan) judge(finds []find) {
	slices.SortFunc(finds, func(a, b find) int { return int(min(max(a.at-b.at, -1), 1)) })
	count := map[string]int{}
	for _, f := range finds {
		a := s.at(f.at)
		where, is := "the disk", unknown
		if a != nil {
			where = a.what
			if a.used != nil {
				is = a.used(f.at)
			}
		}
		// What is in files is judged by what the files are, when they are looked at;
		// only secrets of this build are wrong wherever they are.
		if is == allocated && f.Check != secrets.NeedleCheck {
			continue
		}
		if f.Weak && is != free && is != journal {
			continue
		}
		place := map[use]string{unknown: "", free: "in a free block, ", allocated: "in a file's block, ", journal: "in the journal, "}[is]
		key := where + place + string(f.Kind)
		if count[key]++; count[key] > mostFinds {
			continue
		}
		severity := verify.Blocker
		if f.Weak {
			severity = verify.Warning
		}
		encoding := ""
		if f.Wide {
			encoding = ", in UTF-16"
		}
		s.tell("fs-deleted-data", severity, where, "%s%s, %sat byte %d of the disk", f.Kind, encoding, place, f.at)
	}
}

// mostFree is how much free space may hold old data before it is a finding: file
// systems leave a few blocks behind that no trim reaches.
const mostFree = 4 << 20

// summarise tells how much deleted data there is.
func (s *scan) summarise() {
	for _, a := range s.areas {
		if a.free > mostFree {
			s.tell("fs-deleted-data", verify.Warning, a.what, "%d MiB of free blocks hold what was deleted", a.free>>20)
		}
	}
}
