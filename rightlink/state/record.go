// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// Recorder reports a state to the platform; *session.Session is one.
type Recorder interface {
	Record(ctx context.Context, r wire.StateRecord) error
}

// Rules of the original for reporting a state.
const (
	RecordRetries = 5
	RecordDelay   = 5 * time.Second
)

// Unrecorded tells if the platform may not know the current value yet.
func (s *Store) Unrecorded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known && recorded(s.file.Value) && s.file.Value != s.file.LastRecordedValue
}

func recorded(value string) bool {
	switch value {
	case wire.StateBooting, wire.StateOperational, wire.StateStranded, wire.StateDecommissioning:
		return true
	}
	return false
}

// Record reports the current value, with RecordRetries repetitions. When the
// platform says which state it has recorded, that one becomes the state to
// start from; if it is the current value already there is nothing to do.
func (s *Store) Record(ctx context.Context, to Recorder, c clock.Clock) error {
	for n := 0; ; n++ {
		f, _ := s.Get()
		if f.Value == f.LastRecordedValue {
			return nil
		}
		err := to.Record(ctx, wire.StateRecord{State: f.Value, FromState: f.LastRecordedValue})
		if err == nil {
			return s.noteRecorded(f.Value, 0)
		}
		adopted, told := session.RecordedState(err)
		if told {
			if err := s.noteRecorded(adopted, n+1); err != nil {
				return err
			}
			if adopted == f.Value {
				return nil
			}
		}
		if n >= RecordRetries || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("record state %s (from %s): %w", f.Value, f.LastRecordedValue, err), s.noteRetries(0))
		}
		if err := s.noteRetries(n + 1); err != nil {
			return err
		}
		if told && adopted != f.LastRecordedValue {
			continue // the next try has a better chance, no need to wait
		}
		if serr := c.Sleep(ctx, RecordDelay); serr != nil {
			return errors.Join(err, serr)
		}
	}
}

// RecordFinal reports the end of the machine's life, once: the shutdown goes
// on in any case.
func (s *Store) RecordFinal(ctx context.Context, to Recorder, kind string) error {
	if err := s.Set(wire.StateDecommissioned, kind); err != nil {
		return err
	}
	f, _ := s.Get()
	err := to.Record(ctx, wire.StateRecord{State: f.Value, FromState: f.LastRecordedValue, Kind: kind})
	if adopted, told := session.RecordedState(err); told && adopted != f.LastRecordedValue && adopted != f.Value {
		err = to.Record(ctx, wire.StateRecord{State: f.Value, FromState: adopted, Kind: kind})
	}
	if err != nil {
		return fmt.Errorf("record state %s: %w", f.Value, err)
	}
	return s.noteRecorded(f.Value, 0)
}

func (s *Store) noteRecorded(value string, retries int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.LastRecordedValue, s.file.RecordRetries = value, retries
	return s.save()
}

func (s *Store) noteRetries(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.RecordRetries = n
	return s.save()
}
