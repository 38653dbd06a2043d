// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package discover finds out what there is in the clouds of an account, and
// writes it down: instances, whoever launched them, and what a launch can name.
//
// A machine that no server has becomes a raw instance, and stays one. Which
// machine is which instance is told by the client token of a launch, or by the
// cloud's id, whichever side knew it first. A listing changes only what differs,
// so that a quiet cloud costs one call and one read.
package discover

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const (
	// leaseTime is how soon another replica takes over from a dead one.
	leaseTime = 30 * time.Second
	// cloudsEvery is how soon a new or changed cloud is noticed.
	cloudsEvery = 2 * time.Second
)

// Service discovers.
type Service struct {
	Fleet   *fleet.Service
	Clients *launch.Clients
	Log     *slog.Logger
	// Patience shortens the waits after throttling in tests; 0 for 1.
	Patience float64

	mu     sync.Mutex
	missed map[int64]map[string]int // by cloud and id: listings without it
}

// New makes a Service that shares the clients of l.
func New(l *launch.Service) *Service {
	return &Service{Fleet: l.Fleet, Clients: l.Clients, Log: l.Log}
}

// Run discovers in all clouds until ctx ends, in one replica at a time.
func (s *Service) Run(ctx context.Context) {
	err := s.Fleet.DB.Lead(ctx, "discover", leaseTime, func(ctx context.Context, lease store.Lease) error {
		s.Log.InfoContext(ctx, "discovering in clouds", "term", lease.Term)
		s.lead(ctx, func(ctx context.Context, q *store.Queries) error { return q.Fence(ctx, lease) })
		return ctx.Err()
	})
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "discovery ended", "error", err)
	}
}

// fence keeps a replica that does not lead any more from writing.
type fence func(context.Context, *store.Queries) error

// follower is the discovery of one cloud.
type follower struct {
	updated time.Time
	stop    context.CancelFunc
}

// lead keeps one follower for each cloud that is to be discovered.
func (s *Service) lead(ctx context.Context, f fence) {
	followers := map[int64]follower{}
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(cloudsEvery)
	defer tick.Stop()
	for {
		clouds, err := s.Fleet.DB.Clouds(ctx, 0)
		s.complain(ctx, "reading clouds", err)
		wanted := map[int64]bool{}
		for _, c := range clouds {
			if c.Discover == 0 || c.Credentials == store.CredentialsNone {
				continue
			}
			wanted[c.ID] = true
			if have, ok := followers[c.ID]; ok {
				if have.updated.Equal(c.UpdatedAt) {
					continue
				}
				have.stop()
			}
			own, stop := context.WithCancel(ctx)
			followers[c.ID] = follower{c.UpdatedAt, stop}
			all.Go(func() { s.follow(own, c, f) })
		}
		for id, one := range followers {
			if err == nil && !wanted[id] {
				one.stop()
				delete(followers, id)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Service) complain(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, what, "error", err)
	}
}

// How often images and the like are listed. A launch names them, and people
// choose from them; nothing waits for them.
const catalogueEvery = 10 * time.Minute

// follow lists a cloud again and again.
func (s *Service) follow(ctx context.Context, cloud store.Cloud, f fence) {
	p := pacer{longest: cloud.Discover}
	catalogued := time.Time{}
	for {
		report, err := s.once(ctx, cloud, f)
		if ctx.Err() != nil || errors.Is(err, store.ErrLeaseLost) {
			return
		}
		if err != nil {
			s.Log.WarnContext(ctx, "listing instances", "cloud", cloud.Name, "region", cloud.Region, "error", err)
		} else if report.News() > 0 {
			s.Log.InfoContext(ctx, "instances", "cloud", cloud.Name, "listed", report.Listed, "appeared", report.Appeared, "changed", report.Changed, "vanished", report.Vanished)
		}
		if err == nil && time.Since(catalogued) > catalogueEvery {
			if err := s.catalogue(ctx, cloud, f); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "listing images and the like", "cloud", cloud.Name, "error", err)
			}
			catalogued = time.Now()
		}
		timer := time.NewTimer(p.next(report, err))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// Once lists a cloud now, images and the like included. It may run beside
// another discovery; both come to the same.
func (s *Service) Once(ctx context.Context, cloud store.Cloud) (Report, error) {
	none := func(context.Context, *store.Queries) error { return nil }
	report, err := s.once(ctx, cloud, none)
	if err != nil {
		return report, err
	}
	return report, s.catalogue(ctx, cloud, none)
}

// Report is what a listing has brought.
type Report struct {
	Listed    int `json:"listed"`
	Appeared  int `json:"appeared"`
	Changed   int `json:"changed"`
	Vanished  int `json:"vanished"`
	Throttled int `json:"throttled"` // calls that had to be repeated for that
	// Busy tells that something is under way that will show in the next listing.
	Busy bool `json:"busy"`
}

// News is how many instances are not as they were.
func (r Report) News() int { return r.Appeared + r.Changed + r.Vanished }

// once lists the instances of a cloud and writes down what differs.
func (s *Service) once(ctx context.Context, cloud store.Cloud, f fence) (Report, error) {
	report, err := s.look(ctx, cloud, f)
	problem := ""
	if err != nil {
		problem = err.Error()
		if ctx.Err() != nil || errors.Is(err, store.ErrLeaseLost) {
			return report, err
		}
	}
	werr := s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		return errors.Join(f(ctx, q), q.SetDiscovered(ctx, cloud.ID, problem, s.Fleet.Now()))
	})
	return report, errors.Join(err, werr)
}

func (s *Service) look(ctx context.Context, cloud store.Cloud, f fence) (Report, error) {
	client, err := s.Clients.EC2(ctx, cloud)
	if err != nil {
		return Report{}, err
	}
	began := s.Fleet.Now()
	machines, throttled, err := s.instances(ctx, client)
	report := Report{Listed: len(machines), Throttled: throttled}
	if err != nil {
		return report, err
	}
	return report, s.reconcile(ctx, cloud, f, machines, began, &report)
}
