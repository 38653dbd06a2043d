// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// RecordState writes the run state that an agent reports. A report that comes
// twice (its answer was lost) is accepted; one that starts from a state other
// than the recorded one is not, and the text tells the recorded one, which the
// agent then adopts.
func (s *Service) RecordState(ctx context.Context, sess Session, rec wire.StateRecord) error {
	if !slices.Contains([]string{wire.StateBooting, wire.StateOperational, wire.StateStranded, wire.StateDecommissioning, wire.StateDecommissioned}, rec.State) {
		return invalid("state %q: want booting, operational, stranded, decommissioning or decommissioned", clip(rec.State, 40))
	}
	// "unknown" is what an agent says that cannot tell why it is stopped.
	if !slices.Contains([]string{"", "unknown", wire.KindReboot, wire.KindStop, wire.KindTerminate}, rec.Kind) {
		return invalid("kind %q: want reboot, stop or terminate", clip(rec.Kind, 40))
	}
	return s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := declared(ctx, q, sess)
		if err != nil {
			return err
		}
		terminates := rec.State == wire.StateDecommissioned && rec.Kind == wire.KindTerminate
		if rec.State == inst.State && !terminates {
			return nil
		}
		if rec.FromState != "" && rec.FromState != inst.State && rec.State != inst.State {
			return invalid("from_state %q does not fit: currently recorded state is %s", clip(rec.FromState, 40), inst.State)
		}
		to, state := rec.State, rec.State
		if terminates {
			to, state = wire.StateTerminated, wire.StateInactive
		}
		if err := s.moveState(ctx, q, inst, to, rec.Kind); err != nil {
			return err
		}
		// An older instance of the server does not speak for it any more.
		if latest, err := q.LatestToken(ctx, server.ID); err != nil || latest.ID != sess.Token.ID {
			return err
		}
		return q.SetServerState(ctx, server.ID, state, s.Now())
	})
}

// moveState changes an instance's state, with history and audit. A terminated
// instance's tokens let nobody in again; its session may still finish its audit
// entries.
func (s *Service) moveState(ctx context.Context, q *store.Queries, inst store.Instance, to, kind string) error {
	now, ended := s.Now(), time.Time{}
	if to == wire.StateTerminated {
		ended = now
		if err := q.RevokeTokenOf(ctx, inst.ID, now); err != nil {
			return err
		}
	}
	if err := q.SetInstanceState(ctx, inst.ID, to, ended, now); err != nil {
		return err
	}
	if err := q.AddStateChange(ctx, store.StateChange{InstanceID: inst.ID, From: inst.State, To: to, Kind: kind, At: now}); err != nil {
		return err
	}
	summary := fmt.Sprintf("%s: %s → %s", NameOf(inst), inst.State, to)
	if kind != "" {
		summary += " (" + kind + ")"
	}
	return s.Remark(ctx, q, inst, Remark{Summary: summary})
}
