// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

const (
	// lookEvery is how soon a job that another process has made is seen.
	lookEvery = time.Second
	// watchEvery is how often states are looked at that last too long.
	watchEvery = 15 * time.Second
	// atOnce bounds the jobs that one process works on at the same time.
	atOnce = 8
)

// Run works on jobs and watches time-outs until ctx ends; a step that is cut off
// then is done again by somebody else. Any number of processes may do so.
func (s *Service) Run(ctx context.Context) {
	look, watch := time.NewTicker(lookEvery), time.NewTicker(watchEvery)
	defer look.Stop()
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-watch.C:
			s.complain(ctx, "watching machines", s.Watch(ctx))
		case <-look.C:
			s.complain(ctx, "working on machines", s.WorkOff(ctx))
		}
	}
}

func (s *Service) complain(ctx context.Context, what string, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.Log.ErrorContext(ctx, what, "error", err)
	}
}

// WorkOff does one step of every job that is due.
func (s *Service) WorkOff(ctx context.Context) error {
	due, err := s.Fleet.DB.DueJobs(ctx, 16*atOnce, s.now())
	if err != nil || len(due) == 0 {
		return err
	}
	slots := make(chan struct{}, atOnce)
	errs := make([]error, len(due))
	var all sync.WaitGroup
	for i, j := range due {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = s.work(ctx, j.ID)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Finish works on an instance's job until it is done, or somebody else has done
// it; what command lines do, which may run without a "serve" beside them.
func (s *Service) Finish(ctx context.Context, instance int64) (store.MachineJob, error) {
	for {
		j, err := s.Fleet.DB.LatestMachineJob(ctx, instance)
		if err != nil || !j.DoneAt.IsZero() {
			return j, err
		}
		if !j.DueAt.After(s.now()) && !j.LeasedTo.After(s.now()) {
			if err := s.work(ctx, j.ID); err != nil {
				return j, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return j, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Watch finds what has lasted too long, and ends it.
func (s *Service) Watch(ctx context.Context) error {
	return errors.Join(s.watchPending(ctx), s.watchBooting(ctx), s.watchDecommissioning(ctx), s.watchLeftovers(ctx))
}

// strand is for an instance that is still in a state when it is looked at in
// the transaction.
func (s *Service) strand(ctx context.Context, inst store.Instance, why, detail string) error {
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		now, err := q.Instance(ctx, inst.ID)
		if err != nil || now.State != inst.State || !now.EndedAt.IsZero() {
			return err
		}
		if err := s.Fleet.Remark(ctx, q, now, fleet.Remark{Notify: "Error", Summary: fleet.NameOf(inst) + " is stranded: " + why, Detail: detail}); err != nil {
			return err
		}
		return s.Fleet.SetState(ctx, q, inst.ID, wire.StateStranded, why)
	})
}

func (s *Service) stuck(ctx context.Context, state string, limit time.Duration, each func(store.Instance) error) error {
	list, err := s.Fleet.DB.StuckInstances(ctx, state, s.now().Add(-limit))
	if err != nil {
		return err
	}
	var errs []error
	for _, inst := range list {
		if _, err := s.Fleet.DB.ActiveJob(ctx, inst.ID); errors.Is(err, store.ErrNotFound) {
			errs = append(errs, each(inst))
		} else {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// watchPending: a machine that runs and does not report for an hour has no
// agent, or a wrong network.
func (s *Service) watchPending(ctx context.Context) error {
	return s.stuck(ctx, wire.StatePending, s.Limits.Enrol, func(inst store.Instance) error {
		return s.strand(ctx, inst, fmt.Sprintf("its agent has not reported within %s", s.Limits.Enrol),
			"Look at the machine's console, and whether it reaches this platform.\n")
	})
}

// watchBooting: the agent strands itself when inputs are missing for so long;
// this is for one that does not.
func (s *Service) watchBooting(ctx context.Context) error {
	return s.stuck(ctx, wire.StateBooting, s.Limits.MissingInputs, func(inst store.Instance) error {
		missing, err := s.Fleet.MissingInputs(ctx, &s.Fleet.DB.Queries, inst)
		if err != nil || len(missing) == 0 {
			return err
		}
		return s.strand(ctx, inst, fmt.Sprintf("inputs are missing for %s", s.Limits.MissingInputs), strings.Join(missing, "\n")+"\n")
	})
}

// watchDecommissioning: without a job, the machine itself has begun, and its
// agent has not come to the end.
func (s *Service) watchDecommissioning(ctx context.Context) error {
	return s.stuck(ctx, wire.StateDecommissioning, s.Limits.Decommission, func(inst store.Instance) error {
		limit, err := s.decommissionLimit(ctx, inst)
		if err != nil {
			return err
		}
		history, err := s.Fleet.DB.StateHistory(ctx, inst.ID)
		if err != nil || len(history) > 0 && s.now().Sub(history[len(history)-1].At) < limit {
			return err
		}
		return s.strand(ctx, inst, fmt.Sprintf("decommission takes longer than %s", limit), "")
	})
}

// watchLeftovers terminates machines that have ended in our books only: their
// agent was told to terminate by somebody on the machine and has powered it off,
// or an answer came after its launch was given up.
func (s *Service) watchLeftovers(ctx context.Context) error {
	list, err := s.Fleet.DB.Leftovers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, inst := range list {
		err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
			return s.addEnd(ctx, q, inst, store.JobTerminate, ending{Now: true}, "")
		})
		if !errors.Is(err, ErrNoCredentials) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
