// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// stopped notes that a machine has stopped.
func (s *Service) stopped(ctx context.Context, q *store.Queries, instance int64) error {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return err
	}
	if err := q.SetCloudState(ctx, instance, "stopped", s.now()); err != nil || !inst.EndedAt.IsZero() {
		return err
	}
	state := wire.StateDecommissioned
	if inst.ServerID == 0 && inst.DeclaredAt.IsZero() {
		state = "stopped"
	}
	return s.Fleet.SetState(ctx, q, instance, state, wire.KindStop)
}

// ended is the verdict when the machine is no more.
func (s *Service) ended(j *store.MachineJob, e ending, inst store.Instance, why string) verdict {
	v := verdict{outcome: store.JobDone}
	if e.Relaunch && j.Kind == store.JobTerminate && inst.ServerID != 0 {
		v = verdict{step: stepAgain}
	}
	v.write = func(ctx context.Context, q *store.Queries) error {
		if err := q.SetCloudState(ctx, inst.ID, "terminated", s.now()); err != nil {
			return err
		}
		return s.Fleet.SetState(ctx, q, inst.ID, wire.StateTerminated, why)
	}
	return v
}

// again launches the next machine of the server. The new job and the end of this
// one are one transaction.
func (s *Service) again(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	// Whether it can be launched is tried out first, and thrown away.
	errTried := errors.New("tried")
	err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		if _, err := s.order(ctx, q, inst.ServerID, nil, j.By); err != nil {
			return err
		}
		return errTried
	})
	if !errors.Is(err, errTried) {
		return verdict{outcome: store.JobFailed, problem: err.Error(), write: func(ctx context.Context, q *store.Queries) error {
			return s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Error", Summary: "relaunch failed: " + err.Error(), By: j.By})
		}}
	}
	by := j.By
	return verdict{outcome: store.JobDone, write: func(ctx context.Context, q *store.Queries) error {
		_, err := s.order(ctx, q, inst.ServerID, nil, by)
		return err
	}}
}

// endTime is how long a machine that cannot be ended is tried again.
const endTime = 24 * time.Hour

// trouble decides what a failed call means for an ending. A machine that the
// cloud will not let go costs money, so that it is tried for a day, and an entry
// of the audit trail says so soon.
func (s *Service) trouble(j *store.MachineJob, e ending, inst store.Instance, op string, err error) verdict {
	text := failure(op, err)
	v := verdict{after: s.pace(backoff(j.Attempts, err)), problem: text}
	if meaning(err) != never && j.Attempts < 10 && meaning(err) != wrongState {
		return v
	}
	if meaning(err) == never || errors.Is(err, ErrNoCredentials) {
		v.after = s.pace(5 * time.Minute)
	}
	if s.now().Sub(j.CreatedAt) > endTime {
		v.outcome = store.JobFailed
	} else if e.Told {
		return v
	}
	e.Told = true
	j.Detail, _ = json.Marshal(e)
	v.write = func(ctx context.Context, q *store.Queries) error {
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Error", Summary: fmt.Sprintf("%s of %s is not possible: %s", j.Kind, fleet.NameOf(inst), text),
			Detail: text + "\n"})
	}
	return v
}
