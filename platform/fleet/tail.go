// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// tailParts and tailBytes bound one piece of a detail text that is read while
// it grows.
const (
	tailParts = 500
	tailBytes = 256 << 10
)

// Tail is a piece of the detail text of an audit entry.
type Tail struct {
	Entry store.AuditEntry
	Text  string
	// From is where Text begins in bytes, Next where the following piece does.
	From, Next int64
	// More tells that there is more text already.
	More bool
}

// quiet is how long an entry without a last word may be silent before nobody
// needs to watch it any more.
const quiet = 15 * time.Minute

// Live tells whether text may still be added: the entry of a script until the
// agent says how it ended, any other one while it is fresh.
func Live(e store.AuditEntry, now time.Time) bool {
	for _, end := range []string{"Completed: ", "Aborted: ", "Stranded: "} {
		if strings.HasPrefix(e.Summary, end) {
			// Its last lines may come after the word.
			return now.Sub(e.UpdatedAt) < 10*time.Second
		}
	}
	switch {
	case strings.HasPrefix(e.Summary, "Queued: "):
		return true // it expires by itself, with a word
	case strings.HasPrefix(e.Summary, "RightScript: "):
		return now.Sub(e.UpdatedAt) < EventTime // a script may work in silence
	}
	return now.Sub(e.UpdatedAt) < quiet
}

// AuditTail reads a piece of an entry's detail from an offset on, without what
// lies behind a hole: it may still arrive. A negative offset counts from the
// end.
func (s *Service) AuditTail(ctx context.Context, account, id, from int64) (t Tail, err error) {
	if t.Entry, err = s.DB.AuditEntry(ctx, id); err != nil {
		return t, err
	}
	if t.Entry.AccountID != account {
		return Tail{}, fmt.Errorf("audit entry %d: %w", id, store.ErrNotFound)
	}
	fromEnd := from < 0
	if fromEnd {
		from = max(0, t.Entry.DetailSize+from)
	}
	parts, err := s.DB.DetailPartsFrom(ctx, id, from, tailParts)
	if err != nil {
		return t, err
	}
	text, at := joinParts(parts, from, Live(t.Entry, s.Now()))
	if fromEnd && from > 0 { // begin with a whole line, or at least a whole character
		cut := bytes.IndexByte(text, '\n') + 1
		for cut == 0 && len(text) > 0 && !utf8.RuneStart(text[0]) {
			text, from = text[1:], from+1
		}
		text, from = text[cut:], from+int64(cut)
	}
	t.From, t.Next, t.More = from, at, at < t.Entry.DetailSize && len(text) > 0
	t.Text = strings.ToValidUTF8(string(text), "\uFFFD")
	return t, nil
}

// joinParts returns the bytes from an offset on and where they end. In a text
// that still grows it stops at a hole and before a character that is not whole.
func joinParts(parts []store.DetailPart, from int64, live bool) ([]byte, int64) {
	var b bytes.Buffer
	at := from
	for _, p := range parts {
		end := p.Position + int64(len(p.Content))
		if p.Position > at {
			if live || b.Len() >= tailBytes {
				break
			}
			fmt.Fprintf(&b, "\n[%d bytes did not arrive]\n", p.Position-at)
			at = p.Position
		}
		b.Write(p.Content[at-p.Position:])
		at = end
		if b.Len() >= tailBytes {
			break
		}
	}
	text := b.Bytes()
	if live || len(text) >= tailBytes {
		whole := wholeRunes(text)
		at -= int64(len(text) - whole)
		text = text[:whole]
	}
	return text, at
}

// wholeRunes is the length of a text without the start of a character at its
// end.
func wholeRunes(b []byte) int {
	for back := 1; back <= min(utf8.UTFMax-1, len(b)); back++ {
		if c := b[len(b)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-back:]) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}
