// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// batch is how many instances are written in one transaction, so that others
// can write in between.
const batch = 100

// absences is in how many listings in a row an instance must be missing to have
// vanished: those who answer do not all know a new one at the same moment.
const absences = 2

// reconcile compares a complete listing with what is known.
func (s *Service) reconcile(ctx context.Context, cloud store.Cloud, f fence, machines []types.Instance, began time.Time, report *Report) error {
	rows, err := s.Fleet.DB.InstancesSeenIn(ctx, cloud.ID)
	if err != nil {
		return err
	}
	known := make(map[string]store.Instance, len(rows))
	for _, row := range rows {
		if have, ok := known[row.ResourceUID]; !ok || !have.EndedAt.IsZero() {
			known[row.ResourceUID] = row
		}
	}
	listed := make(map[string]bool, len(machines))
	var news []types.Instance
	for _, m := range machines {
		seen := launch.Describe(m)
		listed[seen.ResourceUID] = true
		report.Busy = report.Busy || slices.Contains([]string{"pending", "stopping", "shutting-down"}, seen.CloudState)
		if row, ok := known[seen.ResourceUID]; !ok || differs(row, seen) {
			news = append(news, m)
		}
	}
	for part := range slices.Chunk(news, batch) {
		var done Report
		err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
			done = Report{}
			if err := f(ctx, q); err != nil {
				return err
			}
			for _, m := range part {
				if err := s.apply(ctx, q, cloud, m, &done); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		report.Appeared += done.Appeared
		report.Changed += done.Changed
	}
	if err := s.vanish(ctx, cloud, f, rows, listed, began, report); err != nil {
		return err
	}
	jobs, err := s.Fleet.DB.ActiveJobs(ctx, cloud.ID)
	report.Busy = report.Busy || jobs > 0
	return err
}

// differs tells whether a listing brings news of an instance.
func differs(row, seen store.Instance) bool {
	if !row.EndedAt.IsZero() {
		return row.CloudState != seen.CloudState
	}
	if gone(seen.CloudState) || seen.CloudState != row.CloudState || raw(row) && row.State != rawState(seen.CloudState) {
		return true
	}
	return seen.ImageUID != row.ImageUID || seen.InstanceType != row.InstanceType || seen.Datacenter != row.Datacenter ||
		seen.Name != "" && seen.Name != row.Name || moved(row, row.PublicIPs, seen.PublicIPs) || moved(row, row.PrivateIPs, seen.PrivateIPs)
}

// moved tells whether a listing brings new addresses. What an agent has declared
// counts more: it knows how others reach its machine.
func moved(row store.Instance, have, seen []string) bool {
	return (row.DeclaredAt.IsZero() || len(have) == 0) && !slices.Equal(have, seen)
}

func gone(state string) bool { return state == "terminated" }

func raw(i store.Instance) bool { return i.ServerID == 0 && i.DeclaredAt.IsZero() }

// rawState is the state of an instance without an agent: the cloud's own, in
// the words of RightScale.
func rawState(cloudState string) string {
	switch cloudState {
	case "running":
		return wire.StateOperational
	case "", "pending":
		return wire.StatePending
	}
	return cloudState
}

// retired is how long after its end in our books a machine may still run
// without becoming a raw instance: its agent is powering it off.
const retired = 10 * time.Minute

// apply writes what the cloud says of one machine.
func (s *Service) apply(ctx context.Context, q *store.Queries, cloud store.Cloud, m types.Instance, report *Report) error {
	seen := launch.Describe(m)
	if err := s.claim(ctx, q, cloud, seen); err != nil {
		return err
	}
	rows, err := q.InstancesByResource(ctx, cloud.AccountID, seen.ResourceUID)
	if err != nil {
		return err
	}
	if len(rows) == 0 || !rows[0].EndedAt.IsZero() {
		over := gone(seen.CloudState) || seen.CloudState == "shutting-down"
		if len(rows) > 0 && (over || rows[0].ClientToken != "" || s.Fleet.Now().Sub(rows[0].EndedAt) < retired) {
			return s.update(ctx, q, cloud, rows[0], seen, report)
		}
		if over {
			return nil // it came and went between two listings
		}
		seen.AccountID, seen.CloudID, seen.SeenCloudID, seen.UID, seen.State = cloud.AccountID, cloud.ID, cloud.ID, fleet.NewUID(), rawState(seen.CloudState)
		if _, err := q.CreateRawInstance(ctx, seen, s.Fleet.Now()); err != nil {
			return err
		}
		report.Appeared++
		return nil
	}
	row := rows[0]
	if row.SeenCloudID != 0 && row.SeenCloudID != cloud.ID && row.GoneAt.IsZero() {
		return nil // another cloud of ours lists the same region
	}
	return s.update(ctx, q, cloud, row, seen, report)
}

// claim recognises the machine of one of our launches whose answer was lost,
// with the process or on the way.
func (s *Service) claim(ctx context.Context, q *store.Queries, cloud store.Cloud, seen store.Instance) error {
	if !strings.HasPrefix(seen.ClientToken, launch.TokenPrefix) {
		return nil
	}
	inst, err := q.InstanceByClientToken(ctx, seen.ClientToken)
	if errors.Is(err, store.ErrNotFound) || err == nil && (inst.ResourceUID != "" || inst.AccountID != cloud.AccountID) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.Fleet.Launched(ctx, q, inst.ID, seen.ResourceUID, cloud.ID, seen.CloudState)
	if err != nil {
		return err
	}
	return q.WakeJob(ctx, inst.ID, s.Fleet.Now())
}

// update brings a known instance up to date.
func (s *Service) update(ctx context.Context, q *store.Queries, cloud store.Cloud, row, seen store.Instance, report *Report) error {
	report.Changed++
	now := s.Fleet.Now()
	seen.ID, seen.SeenCloudID = row.ID, cloud.ID
	if seen.Name == "" {
		seen.Name = row.Name
	}
	if gone(seen.CloudState) || !row.EndedAt.IsZero() { // a machine that is no more has no address; which it had stays known
		seen.PublicIPs, seen.PrivateIPs = row.PublicIPs, row.PrivateIPs
	}
	if !row.LaunchedAt.IsZero() && row.ClientToken != "" {
		seen.LaunchedAt = row.LaunchedAt
	}
	if err := q.SeeInstance(ctx, seen, now); err != nil || !row.EndedAt.IsZero() {
		return err
	}
	switch {
	case gone(seen.CloudState):
		return s.Fleet.SetState(ctx, q, row.ID, wire.StateTerminated, reason(seen.CloudState))
	case raw(row):
		return s.quietly(ctx, q, row, rawState(seen.CloudState))
	case seen.CloudState == "stopped" && slices.Contains([]string{wire.StateBooting, wire.StateOperational, wire.StateStranded, wire.StateDecommissioning}, row.State):
		return s.Fleet.SetState(ctx, q, row.ID, wire.StateDecommissioned, wire.KindStop)
	}
	return nil
}

func reason(cloudState string) string { return cloudState + " in the cloud" }

// quietly changes the state of a raw instance, which is nobody's business but
// its history's.
func (s *Service) quietly(ctx context.Context, q *store.Queries, row store.Instance, to string) error {
	if row.State == to {
		return nil
	}
	now := s.Fleet.Now()
	if err := q.SetInstanceState(ctx, row.ID, to, time.Time{}, now); err != nil {
		return err
	}
	return q.AddStateChange(ctx, store.StateChange{InstanceID: row.ID, From: row.State, To: to, Kind: "seen", At: now})
}

// vanish marks instances that the cloud does not list any more.
func (s *Service) vanish(ctx context.Context, cloud store.Cloud, f fence, rows []store.Instance, listed map[string]bool, began time.Time, report *Report) error {
	var absent []store.Instance
	s.mu.Lock()
	if s.missed == nil {
		s.missed = map[int64]map[string]int{}
	}
	missed := map[string]int{}
	for _, row := range rows {
		if listed[row.ResourceUID] || row.UpdatedAt.After(began) {
			continue
		}
		if missed[row.ResourceUID] = s.missed[cloud.ID][row.ResourceUID] + 1; missed[row.ResourceUID] >= absences {
			absent = append(absent, row)
		}
	}
	s.missed[cloud.ID] = missed
	s.mu.Unlock()
	report.Busy = report.Busy || len(missed) > len(absent)
	for part := range slices.Chunk(absent, batch) {
		err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
			if err := f(ctx, q); err != nil {
				return err
			}
			for _, row := range part {
				if err := q.SetInstanceGone(ctx, row.ID, s.Fleet.Now()); err != nil {
					return err
				}
				if !row.EndedAt.IsZero() {
					continue
				}
				if err := s.Fleet.SetState(ctx, q, row.ID, wire.StateTerminated, "vanished from the cloud"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, row := range part {
			if row.EndedAt.IsZero() {
				report.Vanished++
			}
		}
	}
	return nil
}

// uid is the id that a pointer of the SDK holds.
func uid(s *string) string { return aws.ToString(s) }
