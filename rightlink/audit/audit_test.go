// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package audit

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// sink keeps an entry as a platform does: text goes where its offset says.
type sink struct {
	mu      sync.Mutex
	created []wire.AuditEntry
	appends []wire.AuditAppend
	text    string
	lose    int // answers that get lost
	fail    int // calls that do not arrive
}

func (s *sink) CreateAudit(_ context.Context, e wire.AuditEntry) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created = append(s.created, e)
	return 7, nil
}

func (s *sink) AppendAudit(_ context.Context, id int64, a wire.AuditAppend) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("down")
	}
	s.appends = append(s.appends, a)
	s.text = s.text[:a.Offset] + a.Detail
	if s.lose > 0 {
		s.lose--
		return errors.New("lost")
	}
	return nil
}

func newLog(t *testing.T, s *sink, id int64, every time.Duration) *Log {
	l := New(t.Context(), Options{Sink: s, ID: id, AuditeeHref: "/api/i/1", Summary: "Boot", Log: slog.New(slog.DiscardHandler), FlushEvery: every})
	t.Cleanup(func() { _ = l.Close(context.Background()) })
	return l
}

func TestLostAnswerIsRepeatedAtTheSameOffset(t *testing.T) {
	s := &sink{lose: 1}
	l := newLog(t, s, 9, time.Hour)
	l.Output("first ")
	require.Error(t, l.Flush(t.Context()))
	l.Output("sécond")
	require.NoError(t, l.Flush(t.Context()))
	require.Equal(t, "first sécond", s.text)
	require.Equal(t, []wire.AuditAppend{{Detail: "first "}, {Detail: "first "}, {Detail: "sécond", Offset: 6}}, s.appends)
	l.Output("x")
	require.NoError(t, l.Flush(t.Context()))
	require.Equal(t, int64(13), s.appends[3].Offset, "bytes count")
	require.Empty(t, s.created)
}

func TestCreatesWhenNeeded(t *testing.T) {
	s := &sink{}
	l := newLog(t, s, 0, time.Hour)
	require.NoError(t, l.Flush(t.Context()))
	require.Empty(t, s.created)
	l.Section("RightScript: hello")
	l.Status("Completed: hello")
	require.NoError(t, l.Close(t.Context()))
	require.Equal(t, []wire.AuditEntry{{Entry: wire.AuditEntryFields{AuditeeHref: "/api/i/1", Summary: "Boot"}}}, s.created)
	require.Equal(t, "Completed: hello", s.appends[0].Summary)
	require.Equal(t, "None", s.appends[0].Notify)
	require.Contains(t, s.text, "*RS> Completed: hello\n")
}

func TestFlushesByItself(t *testing.T) {
	s := &sink{}
	got := func() string { s.mu.Lock(); defer s.mu.Unlock(); return s.text }
	bySize := newLog(t, s, 1, time.Hour)
	bySize.Output(strings.Repeat("a", FlushSize))
	require.Eventually(t, func() bool { return len(got()) == FlushSize }, 5*time.Second, time.Millisecond)
	s2 := &sink{}
	byTime := newLog(t, s2, 1, 5*time.Millisecond)
	byTime.Output("b")
	require.Eventually(t, func() bool { s2.mu.Lock(); defer s2.mu.Unlock(); return s2.text == "b" }, 5*time.Second, time.Millisecond)
}

func TestBounds(t *testing.T) {
	s := &sink{fail: 1}
	l := newLog(t, s, 1, time.Hour)
	big := strings.Repeat("é", 100<<10) // 200 KiB
	for range 30 {
		l.Output(big)
	}
	_ = l.Flush(t.Context()) // may be the one that fails
	require.NoError(t, l.Flush(t.Context()))
	require.Contains(t, s.text, "bytes of output are missing here")
	require.Less(t, len(s.text), maxPending+2*maxPart)
	require.NotContains(t, s.text, "\uFFFD")
	for _, a := range s.appends {
		require.LessOrEqual(t, len(a.Detail), maxPart+1<<10)
	}
}

func TestFormat(t *testing.T) {
	head := Section("RightScript: hello")
	lines := strings.Split(head, "\n")
	require.Equal(t, strings.Repeat("*", 80), lines[0])
	require.Len(t, lines[1], 80)
	require.True(t, strings.HasPrefix(lines[1], "*RS>      ") && strings.HasSuffix(lines[1], "****"))
	require.Equal(t, "*ERROR> no\n", Error("no"))
	for line := range strings.SplitSeq(strings.TrimSpace(Info(strings.Repeat("word ", 60)+strings.Repeat("x", 200))), "\n") {
		require.LessOrEqual(t, len(line), 80)
		require.True(t, strings.HasPrefix(line, "*RS> "))
	}
	cut := Summary(strings.Repeat("é", 200), 255)
	require.LessOrEqual(t, len(cut), 255)
	require.True(t, strings.HasSuffix(cut, "é..."))
}
