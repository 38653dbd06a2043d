// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package launch makes servers real and ends them: it launches, stops, starts,
// reboots and terminates machines of EC2 and of whatever speaks its API.
//
// What is to happen to a machine is a job in the database, and a job is worked
// on in steps. Each step makes at most one call to the cloud, outside of any
// transaction, and then writes down in one transaction what came of it. So it
// does not matter which process works on a job, or whether that process is
// killed between two instructions: the step is done again by another one, and
// every step bears that. A launch carries a client token, by which the cloud
// recognises a repetition, and by which discovery recognises the machine.
package launch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Limits are how long things may take.
type Limits struct {
	// Launch is how long the cloud is asked for a machine while it is throttling
	// or does not answer.
	Launch time.Duration
	// Enrol is how long a launched machine may take to enrol; then its server is
	// stranded.
	Enrol time.Duration
	// MissingInputs is how long a booting instance may wait for values of inputs;
	// then it is stranded.
	MissingInputs time.Duration
	// Decommission bounds the decommission scripts; the tag
	// rs_decommissioning:delay=medium or long gives more.
	Decommission, DecommissionMedium, DecommissionLong time.Duration
	// Answer is how long an agent may take to fetch the request for its
	// decommission; one that does not is not there.
	Answer time.Duration
}

// DefaultLimits are the original's, where it had any.
func DefaultLimits() Limits {
	return Limits{
		Launch: 30 * time.Minute, Enrol: time.Hour, MissingInputs: 45 * time.Minute,
		Decommission: 50 * time.Minute, DecommissionMedium: 110 * time.Minute, DecommissionLong: 230 * time.Minute,
		Answer: 5 * time.Minute,
	}
}

// Service launches and ends machines.
type Service struct {
	Fleet   *fleet.Service
	Clients *Clients
	Log     *slog.Logger
	Limits  Limits
	// Pace shortens all waits between two looks at the cloud in tests; 0 for 1.
	Pace float64
}

// New makes a Service with the default limits.
func New(f *fleet.Service, log *slog.Logger) *Service {
	return &Service{Fleet: f, Clients: NewClients(f.Keys), Log: log, Limits: DefaultLimits()}
}

func (s *Service) now() time.Time { return s.Fleet.Now() }

// pace is a wait, as long as it is meant to be unless a test is in a hurry.
func (s *Service) pace(d time.Duration) time.Duration {
	if s.Pace > 0 {
		return time.Duration(float64(d) * s.Pace)
	}
	return d
}

// glance is when a machine that is on its way is looked at again: soon at first,
// and more and more rarely, since there may be hundreds of them.
func (s *Service) glance(j *store.MachineJob) time.Duration {
	return s.pace(min(15*time.Second, max(2*time.Second, s.now().Sub(j.StepAt)/3)))
}

// The lease of a job outlasts the step's calls, so that no two processes are
// ever at the same one.
const (
	leaseTime = 2 * time.Minute
	stepTime  = 90 * time.Second
)

// verdict is what a step came to.
type verdict struct {
	step    string        // the next step; empty for this one again
	after   time.Duration // when
	outcome string        // when the job is done
	problem string        // why it was not possible now
	// write is done in the transaction that saves the job.
	write func(context.Context, *store.Queries) error
	// keep writes it also when the job was given to somebody else meanwhile.
	keep bool
}

// work does one step of a job, unless somebody else is at it.
func (s *Service) work(ctx context.Context, id int64) error {
	now := s.now()
	holder := uuid.NewString()
	got, err := s.Fleet.DB.LeaseJob(ctx, id, holder, now.Add(leaseTime), now)
	if err != nil || !got {
		return err
	}
	j, err := s.Fleet.DB.MachineJob(ctx, id)
	if err != nil {
		return err
	}
	inst, err := s.Fleet.DB.Instance(ctx, j.InstanceID)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, stepTime)
	v := s.step(limited, &j, inst)
	cancel()
	return s.settle(ctx, j, v)
}

// step is the table of contents of all jobs.
func (s *Service) step(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	steps := map[string]func(context.Context, *store.MachineJob, store.Instance) verdict{
		stepRun: s.run, stepAppear: s.appear, stepSweep: s.sweep, // launch
		stepAsk: s.ask, stepAgent: s.agent, stepFind: s.find, stepEnd: s.end, stepGone: s.gone, stepAgain: s.again, // stop, terminate
		stepStart: s.start, stepUp: s.up, // start
	}
	do, ok := steps[j.Step]
	if !ok { // of a newer rightscaled that shares the database
		return verdict{after: time.Minute, problem: fmt.Sprintf("step %q is not known to this rightscaled", j.Step)}
	}
	return do(ctx, j, inst)
}

// settle writes what a step came to and gives the job back.
func (s *Service) settle(ctx context.Context, j store.MachineJob, v verdict) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	now := s.now()
	j.Attempts++
	if v.problem == "" {
		j.Attempts = 0
	}
	if j.LastError = v.problem; v.problem != "" {
		s.Log.WarnContext(ctx, "job of a machine", "job", j.ID, "kind", j.Kind, "step", j.Step, "attempt", j.Attempts, "problem", v.problem)
	}
	if v.step != "" && v.step != j.Step {
		j.Step, j.StepAt, j.Attempts = v.step, now, 0
	}
	j.DueAt = now.Add(v.after)
	if v.outcome != "" {
		j.DoneAt, j.Outcome, j.Sealed = now, v.outcome, nil
	}
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		if v.write != nil && v.keep {
			if err := v.write(ctx, q); err != nil {
				return err
			}
		}
		mine, err := q.SaveJob(ctx, j)
		if err != nil || !mine || v.write == nil || v.keep {
			return err
		}
		return v.write(ctx, q)
	})
}
