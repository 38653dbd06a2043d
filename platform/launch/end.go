// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Steps of a termination and of a stop.
const (
	stepAsk   = "ask"   // have the agent run the decommission scripts
	stepAgent = "agent" // wait until it has
	stepFind  = "find"  // look for a machine whose launch was not answered
	stepEnd   = "end"   // stop or terminate the machine
	stepGone  = "gone"  // wait until it is
	stepAgain = "again" // launch the next one
)

// ending is the detail of a job that stops or terminates.
type ending struct {
	// Now leaves the decommission out.
	Now bool `json:"now,omitempty"`
	// Relaunch launches a new machine for the server afterwards.
	Relaunch bool `json:"relaunch,omitempty"`
	// ClientToken finds a machine whose launch was not answered.
	ClientToken string `json:"client_token,omitempty"`
	// Looks counts how often it was not found.
	Looks int `json:"looks,omitempty"`
	// Told that an entry of the audit trail tells of the trouble already.
	Told bool `json:"told,omitempty"`
}

// Terminate decommissions a machine, if its agent is there, and terminates it.
// It returns when that is noted down; it takes as long as the decommission
// scripts do.
func (s *Service) Terminate(ctx context.Context, instance int64, by string) error {
	return s.begin(ctx, instance, store.JobTerminate, ending{}, by)
}

// TerminateNow is Terminate without decommission scripts.
func (s *Service) TerminateNow(ctx context.Context, instance int64, by string) error {
	return s.begin(ctx, instance, store.JobTerminate, ending{Now: true}, by)
}

// Stop decommissions a machine, if its agent is there, and stops it. Its disk
// stays, and Start brings it back as the same instance.
func (s *Service) Stop(ctx context.Context, instance int64, by string) error {
	return s.begin(ctx, instance, store.JobStop, ending{}, by)
}

// Relaunch terminates a server's machine, if it has one, and launches a new one.
func (s *Service) Relaunch(ctx context.Context, serverID int64, by string) error {
	server, err := s.Fleet.DB.Server(ctx, serverID)
	if err != nil {
		return err
	}
	if _, err := usableCloud(ctx, &s.Fleet.DB.Queries, server); err != nil {
		return err
	}
	_, inst, err := s.Fleet.Current(ctx, &s.Fleet.DB.Queries, server)
	if err != nil {
		return err
	}
	if !fleet.Living(inst) {
		_, err := s.Launch(ctx, serverID, nil, by)
		return err
	}
	return s.begin(ctx, inst.ID, store.JobTerminate, ending{Relaunch: true}, by)
}

// begin notes down that a machine is to be stopped or terminated, and does the
// first step.
func (s *Service) begin(ctx context.Context, instance int64, kind string, e ending, by string) error {
	err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		inst, err := q.Instance(ctx, instance)
		if err != nil {
			return err
		}
		locked, err := q.InstanceLocked(ctx, instance)
		switch {
		case err != nil:
			return err
		case !fleet.Living(inst):
			return &fleet.RefusedError{Text: fmt.Sprintf("%s is %s already", fleet.NameOf(inst), inst.State)}
		case locked && kind == store.JobTerminate:
			return &fleet.RefusedError{Text: fmt.Sprintf("%s is locked; unlock it first", fleet.NameOf(inst))}
		}
		return s.addEnd(ctx, q, inst, kind, e, by)
	})
	if err != nil {
		return err
	}
	return s.nudge(ctx, instance)
}

// nudge works on what an instance's job has to do now, without waiting for the
// worker. What it cannot do now the worker does later.
func (s *Service) nudge(ctx context.Context, instance int64) error {
	j, err := s.Fleet.DB.ActiveJob(ctx, instance)
	if errors.Is(err, store.ErrNotFound) || err == nil && j.DueAt.After(s.now()) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.work(context.WithoutCancel(ctx), j.ID)
}

// addEnd makes the job. It takes the place of a launch, a start or a stop that
// is under way; a termination that is under way stays, but may lose its patience
// or get a relaunch.
func (s *Service) addEnd(ctx context.Context, q *store.Queries, inst store.Instance, kind string, e ending, by string) error {
	cloud, err := s.cloudOf(ctx, q, inst)
	if err != nil {
		return err
	}
	j := store.MachineJob{AccountID: inst.AccountID, CloudID: cloud.ID, InstanceID: inst.ID, Kind: kind, Step: firstStep(inst, e), By: by}
	active, err := q.ActiveJob(ctx, inst.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case active.Kind == kind && !e.Now && !e.Relaunch:
		return nil
	case active.Kind == store.JobTerminate && kind != store.JobTerminate:
		return &fleet.RefusedError{Text: fmt.Sprintf("%s is being terminated", fleet.NameOf(inst))}
	default:
		var old ending
		if active.Kind == store.JobTerminate {
			if err := json.Unmarshal(active.Detail, &old); err != nil {
				return err
			}
			e.Relaunch = e.Relaunch || old.Relaunch
			if !e.Now { // it goes on where it is
				j.Step = active.Step
			}
		}
		if err := q.ReplaceJob(ctx, active.ID, s.now()); err != nil {
			return err
		}
		j.DueAt = active.LeasedTo // a call may be under way
	}
	if inst.ResourceUID == "" {
		e.ClientToken = inst.ClientToken
	}
	if j.Detail, err = json.Marshal(e); err != nil {
		return err
	}
	if _, err := q.CreateMachineJob(ctx, j, s.now()); err != nil {
		return fmt.Errorf("create job: %w", err)
	}
	what := map[string]string{store.JobStop: "stop", store.JobTerminate: "termination"}[kind]
	if e.Relaunch {
		what = "relaunch"
	}
	return s.Fleet.Remark(ctx, q, inst, fleet.Remark{By: by, Summary: what + " of " + fleet.NameOf(inst) + " requested"})
}

// firstStep: an agent can be asked that has enrolled, and has not gone yet.
func firstStep(inst store.Instance, e ending) string {
	alive := slices.Contains([]string{wire.StateBooting, wire.StateOperational, wire.StateStranded, wire.StateDecommissioning}, inst.State)
	switch {
	case inst.ResourceUID == "":
		return stepFind
	case e.Now || inst.DeclaredAt.IsZero() || !inst.EndedAt.IsZero() || !alive || over(inst.CloudState) || inst.CloudState == "stopped":
		return stepEnd
	}
	return stepAsk
}

// cloudOf is the cloud in which calls about an instance are made.
func (s *Service) cloudOf(ctx context.Context, q *store.Queries, inst store.Instance) (store.Cloud, error) {
	for _, id := range []int64{inst.SeenCloudID, inst.CloudID} {
		cloud, err := q.Cloud(ctx, id)
		if err == nil && cloud.Credentials != store.CredentialsNone {
			return cloud, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return cloud, err
		}
	}
	return store.Cloud{}, noCredentials(fmt.Sprintf("no cloud credentials: %s is in no cloud that the platform has credentials for; make one with \"rightscaled cloud add\", or use \"rightscaled server shutdown\", which its agent carries out", fleet.NameOf(inst)))
}

// ask sends the request to the agent.
func (s *Service) ask(_ context.Context, j *store.MachineJob, inst store.Instance) verdict {
	kind := wire.KindTerminate
	if j.Kind == store.JobStop {
		kind = wire.KindStop
	}
	return verdict{step: stepAgent, after: s.pace(2 * time.Second), write: func(ctx context.Context, q *store.Queries) error {
		return s.Fleet.AskShutdown(ctx, q, inst, kind)
	}}
}

// agent waits for the end of the decommission: until the agent says so, until it
// turns out that it is not there, or until its time is over.
func (s *Service) agent(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	if !inst.EndedAt.IsZero() || inst.State == wire.StateDecommissioned || over(inst.CloudState) || inst.CloudState == "stopped" {
		return verdict{step: stepEnd}
	}
	limit, err := s.decommissionLimit(ctx, inst)
	if err != nil {
		return verdict{after: time.Second, problem: err.Error()}
	}
	waited := s.now().Sub(j.StepAt)
	note := ""
	if waited > limit {
		note = fmt.Sprintf("decommission took longer than %s; the machine is ended now", limit)
	} else if waited > s.Limits.Answer {
		waits, err := s.Fleet.ShutdownWaits(ctx, &s.Fleet.DB.Queries, inst.ID)
		if err != nil {
			return verdict{after: time.Second, problem: err.Error()}
		}
		if waits {
			note = fmt.Sprintf("the agent did not ask for its work within %s; the machine is ended without its decommission scripts", s.Limits.Answer)
		}
	}
	if note == "" {
		return verdict{after: s.pace(2 * time.Second)}
	}
	return verdict{step: stepEnd, write: func(ctx context.Context, q *store.Queries) error {
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Error", Summary: note})
	}}
}

// decommissionLimit depends on a tag of the instance.
func (s *Service) decommissionLimit(ctx context.Context, inst store.Instance) (time.Duration, error) {
	rows, err := s.Fleet.DB.Tags(ctx, inst.AccountID, fleet.InstanceHref(inst))
	limit := s.Limits.Decommission
	for _, row := range rows {
		switch row.Name {
		case "rs_decommissioning:delay=medium":
			limit = s.Limits.DecommissionMedium
		case "rs_decommissioning:delay=long":
			limit = s.Limits.DecommissionLong
		}
	}
	return limit, err
}

// reach reads what a job is about and opens its cloud.
func (s *Service) reach(ctx context.Context, j *store.MachineJob) (ending, *ec2.Client, error) {
	var e ending
	if err := json.Unmarshal(j.Detail, &e); err != nil {
		return e, nil, err
	}
	client, err := s.dial(ctx, j)
	return e, client, err
}

// find looks for a machine whose launch was not answered before it was to end.
func (s *Service) find(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	if inst.ResourceUID != "" {
		return verdict{step: stepEnd}
	}
	e, client, err := s.reach(ctx, j)
	if err != nil {
		return s.trouble(j, e, inst, "find credentials", err)
	}
	machine, err := byClientToken(ctx, client, e.ClientToken)
	if err != nil {
		return s.trouble(j, e, inst, "DescribeInstances", err)
	}
	if machine != nil {
		id, cloudID, state := aws.ToString(machine.InstanceId), j.CloudID, stateOf(*machine)
		return verdict{step: stepEnd, write: func(ctx context.Context, q *store.Queries) error {
			_, err := s.Fleet.Launched(ctx, q, inst.ID, id, cloudID, state)
			return err
		}}
	}
	if e.Looks++; e.Looks >= sweepLooks { // it was never launched
		return s.ended(j, e, inst, "it was never launched")
	}
	j.Detail, _ = json.Marshal(e)
	return verdict{after: s.pace(sweepPause)}
}

// end makes the call that stops or terminates the machine.
func (s *Service) end(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	e, client, err := s.reach(ctx, j)
	if err != nil {
		return s.trouble(j, e, inst, "find credentials", err)
	}
	op, ids := "TerminateInstances", []string{inst.ResourceUID}
	if j.Kind == store.JobStop {
		op = "StopInstances"
		_, err = client.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids}, awsx.Once)
	} else {
		_, err = client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids}, awsx.Once)
	}
	switch {
	case err == nil:
	case meaning(err) == absent && s.now().Sub(inst.LaunchedAt) > 5*time.Minute: // a new one may only not be seen yet
		return s.ended(j, e, inst, "the cloud does not know it any more")
	default:
		return s.trouble(j, e, inst, op, err)
	}
	state := "shutting-down"
	if j.Kind == store.JobStop {
		state = "stopping"
	}
	return verdict{step: stepGone, after: s.glance(j), write: func(ctx context.Context, q *store.Queries) error {
		if err := q.SetCloudState(ctx, inst.ID, state, s.now()); err != nil || !inst.EndedAt.IsZero() {
			return err
		}
		if inst.ServerID == 0 && inst.DeclaredAt.IsZero() {
			return s.Fleet.SetState(ctx, q, inst.ID, state, "")
		}
		if inst.State == wire.StateDecommissioned {
			return nil
		}
		return s.Fleet.SetState(ctx, q, inst.ID, wire.StateDecommissioning, "without the agent")
	}}
}

// gone waits until the machine has stopped, or is no more.
func (s *Service) gone(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	e, client, err := s.reach(ctx, j)
	if err != nil {
		return s.trouble(j, e, inst, "find credentials", err)
	}
	machine, err := byID(ctx, client, inst.ResourceUID)
	if err != nil {
		return s.trouble(j, e, inst, "DescribeInstances", err)
	}
	state := "terminated"
	if machine != nil {
		state = stateOf(*machine)
	}
	switch {
	case state == "terminated":
		return s.ended(j, e, inst, j.Kind)
	case state == "stopped" && j.Kind == store.JobStop:
		return verdict{outcome: store.JobDone, write: func(ctx context.Context, q *store.Queries) error { return s.stopped(ctx, q, inst.ID) }}
	case j.Kind == store.JobTerminate && state != "shutting-down", j.Kind == store.JobStop && state == "running":
		return verdict{step: stepEnd, after: s.pace(10 * time.Second)} // started again by somebody
	}
	return verdict{after: s.glance(j)}
}
