// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package secrets

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

const (
	chunk = 256 << 10
	// ahead is how much text behind a literal its rule may see; no private key is
	// longer.
	ahead = 16 << 10
	// behind is how much text before a literal its rule may see.
	behind = 512
)

// Scanner finds the patterns of a set. It holds a buffer and serves one
// goroutine.
type Scanner struct {
	set *Set
	buf []byte
	// Head is the beginning of the last stream, for those who ask what kind of
	// file it is; it is overwritten by the next scan.
	head []byte
}

// Scanner returns a new scanner.
func (s *Set) Scanner() *Scanner {
	return &Scanner{set: s, buf: make([]byte, behind+chunk+ahead), head: make([]byte, 0, headSize)}
}

const headSize = 4096

// Head returns the first bytes of the stream scanned last.
func (s *Scanner) Head() []byte { return s.head }

// Scan reads a stream to its end and tells every find. What lies on the border
// of two reads is found as well.
func (s *Scanner) Scan(r io.Reader, found func(Hit)) error {
	base, n, next := int64(0), 0, 0
	s.head = s.head[:0]
	for {
		m, err := io.ReadFull(r, s.buf[n:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if base == 0 && n == 0 {
			s.head = append(s.head, s.buf[:min(m, headSize)]...)
		}
		n += m
		limit := n
		if !last {
			limit = n - ahead
		}
		next = s.set.scan(s.buf[:n], next, limit, base, found)
		if last {
			return nil
		}
		keep := max(0, next-behind)
		copy(s.buf, s.buf[keep:n])
		base, n, next = base+int64(keep), n-keep, next-keep
	}
}

// scan tells the finds whose key begins at or after next and before limit, and
// returns where the next one may begin.
func (s *Set) scan(text []byte, next, limit int, base int64, found func(Hit)) int {
	places, end := s.places(text, next, min(limit, len(text)-window+1))
	for _, i := range places {
		for _, index := range s.byKey[binary.LittleEndian.Uint32(text[i:])] {
			s.judge(&s.patterns[index], text, i, base, found)
		}
	}
	return end
}

// places lists where between next and last a key may begin, in ascending order.
// It goes through four parts of the text at a time: how far to go on is two reads
// of memory away, and those of the parts do not wait for each other.
func (s *Set) places(text []byte, next, last int) (list []int, end int) {
	part := max(0, last-next) / 4
	endA, endB, endC := next+part, next+2*part, next+3*part
	a, b, c, d := next, endA, endB, endC
	for a < endA && b < endB && c < endC && d < last {
		skipA := int(s.shift[binary.LittleEndian.Uint16(text[a+2:])])
		skipB := int(s.shift[binary.LittleEndian.Uint16(text[b+2:])])
		skipC := int(s.shift[binary.LittleEndian.Uint16(text[c+2:])])
		skipD := int(s.shift[binary.LittleEndian.Uint16(text[d+2:])])
		if skipA == 0 {
			list, skipA = s.mark(list, text, a), 1
		}
		if skipB == 0 {
			list, skipB = s.mark(list, text, b), 1
		}
		if skipC == 0 {
			list, skipC = s.mark(list, text, c), 1
		}
		if skipD == 0 {
			list, skipD = s.mark(list, text, d), 1
		}
		a, b, c, d = a+skipA, b+skipB, c+skipC, d+skipD
	}
	list, _ = s.rest(list, text, a, endA)
	list, _ = s.rest(list, text, b, endB)
	list, _ = s.rest(list, text, c, endC)
	list, end = s.rest(list, text, d, last)
	slices.Sort(list)
	return list, end
}

// rest goes through one part to its end.
func (s *Set) rest(list []int, text []byte, i, end int) (_ []int, at int) {
	for i < end {
		skip := int(s.shift[binary.LittleEndian.Uint16(text[i+2:])])
		if skip == 0 {
			list, skip = s.mark(list, text, i), 1
		}
		i += skip
	}
	return list, i
}

func (s *Set) mark(list []int, text []byte, i int) []int {
	if s.bloom[slot(binary.LittleEndian.Uint32(text[i:]))] {
		list = append(list, i)
	}
	return list
}

func (s *Set) judge(p *pattern, text []byte, key int, base int64, found func(Hit)) {
	at := key - p.key
	if at < 0 || at+len(p.literal) > len(text) || string(text[at:at+len(p.literal)]) != p.literal {
		return
	}
	seen, from := text[max(0, at-behind):min(len(text), at+ahead)], at-max(0, at-behind)
	if p.wide {
		seen, from = narrow(text, at)
	}
	if ok, weak := p.rule(seen, from); ok {
		found(Hit{Check: p.check, Kind: p.kind, Offset: base + int64(at), Weak: weak, Guess: p.guess, Wide: p.wide})
	}
}

// narrow reads UTF-16 around a place as bytes: forwards and backwards for as
// long as every other byte is zero.
func narrow(text []byte, at int) (out []byte, from int) {
	start := at
	for start-2 >= max(0, at-2*behind) && text[start-1] == 0 && text[start-2] != 0 {
		start -= 2
	}
	for i := start; i < min(len(text), at+2*ahead); i += 2 {
		if i+1 < len(text) && text[i+1] != 0 && i >= at {
			out = append(out, text[i]) // the last one of UTF-16BE
			break
		}
		if text[i] == 0 {
			break
		}
		out = append(out, text[i])
	}
	return out, (at - start) / 2
}

// IsText reports whether the beginning of a file looks like text.
func IsText(head []byte) bool { return bytes.IndexByte(head, 0) < 0 }
