// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Steps of a start.
const (
	stepStart = "start"
	stepUp    = "up"
)

// Start starts a machine that was stopped. Its agent enrols as before.
func (s *Service) Start(ctx context.Context, instance int64, by string) error {
	err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		inst, cloud, err := s.living(ctx, q, instance)
		if err != nil {
			return err
		}
		if active, err := q.ActiveJob(ctx, instance); err == nil {
			if active.Kind == store.JobStart {
				return nil
			}
			return &fleet.RefusedError{Text: fmt.Sprintf("%s: a %s is under way", fleet.NameOf(inst), active.Kind)}
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := q.CreateMachineJob(ctx, store.MachineJob{AccountID: inst.AccountID, CloudID: cloud.ID, InstanceID: inst.ID,
			Kind: store.JobStart, Step: stepStart, Detail: []byte("{}"), By: by}, s.now()); err != nil {
			return fmt.Errorf("create job: %w", err)
		}
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{By: by, Summary: "start of " + fleet.NameOf(inst) + " requested"})
	})
	if err != nil {
		return err
	}
	return s.nudge(ctx, instance)
}

// living finds an instance that calls can be made about, and its cloud.
func (s *Service) living(ctx context.Context, q *store.Queries, instance int64) (store.Instance, store.Cloud, error) {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return inst, store.Cloud{}, err
	}
	if !fleet.Living(inst) || inst.ResourceUID == "" {
		return inst, store.Cloud{}, &fleet.RefusedError{Text: fmt.Sprintf("%s is %s", fleet.NameOf(inst), inst.State)}
	}
	cloud, err := s.cloudOf(ctx, q, inst)
	return inst, cloud, err
}

// startTime is how long a machine may be in a state that it cannot be started
// from, such as stopping.
const startTime = 10 * time.Minute

func (s *Service) start(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	client, err := s.dial(ctx, j)
	if err == nil {
		_, err = client.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{inst.ResourceUID}}, awsx.Once)
	}
	if err == nil {
		return verdict{step: stepUp, after: s.glance(j), write: func(ctx context.Context, q *store.Queries) error {
			return q.SetCloudState(ctx, inst.ID, "pending", s.now())
		}}
	}
	text := failure("StartInstances", err)
	waited := s.now().Sub(j.CreatedAt)
	switch what := meaning(err); {
	case errors.Is(err, ErrNoCredentials), what == never, what == absent, what == wrongState && waited > startTime, waited > s.Limits.Launch:
		return s.startFailed(inst, text)
	}
	return verdict{after: s.pace(backoff(j.Attempts, err)), problem: text}
}

func (s *Service) startFailed(inst store.Instance, text string) verdict {
	return verdict{outcome: store.JobFailed, problem: text, write: func(ctx context.Context, q *store.Queries) error {
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Error", Summary: "start failed: " + text, Detail: text + "\n"})
	}}
}

// up waits until a machine that was started runs.
func (s *Service) up(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	machine, later, err := s.look(ctx, j, inst)
	if err != nil {
		return later
	}
	waited := s.now().Sub(j.StepAt)
	switch {
	case machine == nil:
		return s.startFailed(inst, "the cloud does not know it any more")
	case stateOf(*machine) == "running":
		return verdict{outcome: store.JobDone, write: func(ctx context.Context, q *store.Queries) error {
			if err := s.see(ctx, q, inst.ID, *machine); err != nil {
				return err
			}
			return s.started(ctx, q, inst.ID)
		}}
	case stateOf(*machine) == "pending" && waited < appearTime:
		return verdict{after: s.glance(j)}
	}
	return s.startFailed(inst, "it is "+stateOf(*machine)+" again")
}

// started gives a machine that runs again the state that it has until its agent
// reports; that may have happened already.
func (s *Service) started(ctx context.Context, q *store.Queries, instance int64) error {
	inst, err := q.Instance(ctx, instance)
	switch {
	case err != nil:
		return err
	case inst.ServerID == 0 && inst.DeclaredAt.IsZero():
		return s.Fleet.SetState(ctx, q, instance, wire.StateOperational, "start")
	case inst.State == wire.StateDecommissioned:
		return s.Fleet.SetState(ctx, q, instance, wire.StatePending, "start")
	}
	return nil
}

// Reboot reboots a machine by the cloud: its operating system goes down in
// order, and its agent runs the decommission and the boot scripts on the way.
func (s *Service) Reboot(ctx context.Context, instance int64, by string) error {
	inst, cloud, err := s.living(ctx, &s.Fleet.DB.Queries, instance)
	if err != nil {
		return err
	}
	if active, err := s.Fleet.DB.ActiveJob(ctx, instance); err == nil {
		return &fleet.RefusedError{Text: fmt.Sprintf("%s: a %s is under way", fleet.NameOf(inst), active.Kind)}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	client, err := s.Clients.EC2(ctx, cloud)
	if err != nil {
		return err
	}
	// Not repeated after a lost answer: two reboots are worse than none.
	_, err = client.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: []string{inst.ResourceUID}}, awsx.Once)
	summary, notify := "reboot of "+fleet.NameOf(inst)+" requested", ""
	if err != nil {
		summary, notify = failure("reboot of "+fleet.NameOf(inst)+" failed: RebootInstances", err), "Error"
	}
	werr := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{By: by, Summary: summary, Notify: notify})
	})
	if err != nil {
		return errors.Join(&fleet.RefusedError{Text: summary}, werr)
	}
	return werr
}
