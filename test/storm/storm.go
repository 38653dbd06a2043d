// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package storm is the load generator: thousands of simulated agents in one
// process, each with the session of the real RightLink over a TLS connection of
// its own, against real processes of rightscaled. It measures a boot storm, what
// a push costs in the steady state, and how agents come back after a restart,
// and afterwards it looks into the database whether each agent enrolled once.
package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
)

// Disturbance is what happens in the middle of a boot storm.
type Disturbance string

// The disturbances.
const (
	Nothing Disturbance = ""
	// Kill ends one replica with SIGKILL and does not start it again.
	Kill Disturbance = "kill -9"
	// Roll stops and starts one replica after the other.
	Roll Disturbance = "rolling restart"
)

// Options of a storm.
type Options struct {
	// Binary is rightscaled, Dir an empty folder.
	Binary, Dir string
	// Database is the URL of an empty PostgreSQL database; empty for SQLite.
	Database string
	// DatabaseTime is the processor time of the database's own processes.
	DatabaseTime func() time.Duration
	// Replicas is how many processes serve the database; more than one need
	// PostgreSQL.
	Replicas int
	Agents   int
	// Within is the time in which the agents start, by chance: no fleet does so
	// in one moment.
	Within time.Duration
	// Known agents are in the database from the start, operational and silent.
	Known   int
	Disturb Disturbance
	// Steady is how long scripts are pushed to operational agents; 0 for not.
	Steady time.Duration
	// Restart lets all agents come back after all replicas have restarted.
	Restart bool
	// Legacy lets the agents enrol with their tokens alone.
	Legacy bool
	// Haste divides the agents' waits; 0 for none.
	Haste int
	Log   func(format string, args ...any)
}

// Report is what a storm has shown.
type Report struct {
	Agents int `json:"agents"`
	Known  int `json:"known"`
	// Boot is the time from the first request until the last agent was
	// operational.
	Boot      time.Duration `json:"boot_ns"`
	Rate      float64       `json:"agents_per_second"`
	Requests  Times         `json:"requests"`
	Boots     Times         `json:"boots"`
	Statuses  map[int]int   `json:"statuses"`
	CPU       time.Duration `json:"cpu_ns"`
	Database  time.Duration `json:"database_cpu_ns"`
	Pushes    Times         `json:"pushes"`
	Reconnect time.Duration `json:"reconnect_ns"`
}

// Cost is the processor time of platform and database per agent.
func (r Report) Cost() time.Duration { return (r.CPU + r.Database) / time.Duration(max(r.Agents, 1)) }

// storm is one run.
type storm struct {
	Options
	fleet    *fleet.Service
	replicas []*replica
	machines []machine
	agents   []*agent
	way      way
	record   *record
	clock    clock.Clock
}

// Run makes a storm and wants every agent to enrol once, to become operational
// and to be there at the end.
func Run(ctx context.Context, o Options) (report Report, err error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.DatabaseTime == nil {
		o.DatabaseTime = func() time.Duration { return 0 }
	}
	s := &storm{Options: o, record: newRecord(), clock: clock.Real{}}
	if o.Haste > 1 {
		s.clock = hasty{factor: time.Duration(o.Haste)}
	}
	defer func() { err = errors.Join(err, s.close()) }()
	began := time.Now()
	phase := func(name string) { s.Log("%s after %s", name, time.Since(began).Round(100*time.Millisecond)) }
	if err := s.prepare(ctx); err != nil {
		return report, fmt.Errorf("prepare: %w", err)
	}
	phase("prepared")
	report.Agents, report.Known = o.Agents, o.Known
	serving, stop := context.WithCancel(ctx)
	var served sync.WaitGroup
	defer func() { stop(); served.Wait() }()
	if err := s.boot(ctx, &report, func(a *agent) { served.Go(func() { a.serve(serving) }) }); err != nil {
		return report, err
	}
	phase("operational")
	if err := s.online(ctx, 2*time.Minute); err != nil {
		return report, err
	}
	phase("connected")
	if o.Steady > 0 {
		if err := s.steady(ctx, &report); err != nil {
			return report, fmt.Errorf("steady state: %w", err)
		}
		phase("scripts have arrived")
	}
	if o.Restart {
		if err := s.restart(ctx, &report); err != nil {
			return report, fmt.Errorf("restart: %w", err)
		}
		phase("back after the restart")
	}
	return report, s.check(ctx)
}

func (s *storm) close() error {
	var errs []error
	for _, r := range s.replicas {
		errs = append(errs, r.stop())
	}
	if s.fleet != nil {
		errs = append(errs, s.fleet.Close())
	}
	return errors.Join(errs...)
}

func (s *storm) cpu() (sum time.Duration) {
	for _, r := range s.replicas {
		sum += r.cpu()
	}
	return sum
}

// boot starts all agents.
func (s *storm) boot(ctx context.Context, report *Report, operational func(*agent)) error {
	cpu, database, began := s.cpu(), s.DatabaseTime(), time.Now()
	var booting sync.WaitGroup
	failed := make(chan error, len(s.agents))
	for _, a := range s.agents {
		booting.Go(func() {
			if s.Within > 0 {
				time.Sleep(rand.N(s.Within))
			}
			if err := a.boot(ctx); err != nil {
				failed <- fmt.Errorf("%s: %w", a.name, err)
				return
			}
			operational(a)
		})
	}
	disturbed := make(chan error, 1)
	go func() { disturbed <- s.disturb(ctx) }()
	booting.Wait()
	report.Boot = time.Since(began)
	err := <-disturbed
	close(failed)
	lost := 0
	for e := range failed {
		if lost++; lost <= 5 {
			err = errors.Join(err, e)
		}
	}
	if lost > 0 {
		return fmt.Errorf("%d of %d agents are not operational: %w", lost, len(s.agents), err)
	}
	report.Rate = float64(len(s.agents)) / report.Boot.Seconds()
	report.CPU, report.Database = s.cpu()-cpu, s.DatabaseTime()-database
	report.Requests, report.Boots, _, report.Statuses = s.record.summary()
	return err
}

// disturb does its part when a third of the agents are operational.
func (s *storm) disturb(ctx context.Context) error {
	if s.Disturb == Nothing {
		return nil
	}
	for {
		booted, _ := s.record.count()
		if booted >= len(s.agents)/3 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	booted, _ := s.record.count()
	s.Log("%s with %d of %d agents operational", s.Disturb, booted, len(s.agents))
	if s.Disturb == Kill {
		return s.replicas[len(s.replicas)-1].kill()
	}
	return s.roll(ctx)
}

// roll restarts the replicas one after the other.
func (s *storm) roll(ctx context.Context) error {
	for _, r := range s.replicas {
		if err := r.stop(); err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// online waits until all agents can get events.
func (s *storm) online(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		_, online := s.record.count()
		if online == len(s.agents) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d agents are connected after %s", online, len(s.agents), limit)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pushEvery is the pace of the steady state.
const pushEvery = 20 * time.Millisecond

// steady pushes scripts from another process, this one, to agents by chance.
func (s *storm) steady(ctx context.Context, report *Report) error {
	ticker := time.NewTicker(pushEvery)
	defer ticker.Stop()
	for end := time.Now().Add(s.Steady); time.Now().Before(end); <-ticker.C {
		a := s.agents[rand.IntN(len(s.agents))]
		began := time.Now()
		id, err := s.fleet.RunScript(ctx, fleet.DefaultAccount, a.name, fleet.RunRequest{Script: "Storm work", By: "storm"})
		if err != nil {
			return err
		}
		s.record.push(id, began)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		arrived, asked := s.record.delivered()
		if arrived == asked {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d scripts have arrived", arrived, asked)
		}
	}
	_, _, report.Pushes, _ = s.record.summary()
	return nil
}

// restart stops and starts all replicas that live, and waits until every agent
// is back.
func (s *storm) restart(ctx context.Context, report *Report) error {
	began := time.Now()
	for _, r := range s.replicas {
		if r.cmd == nil {
			continue
		}
		if err := r.stop(); err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	if err := s.online(ctx, 2*time.Minute); err != nil {
		return err
	}
	report.Reconnect = time.Since(began)
	return nil
}
