// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/metrics"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Times of the work that one replica does for all.
const (
	upkeepLease = 30 * time.Second
	upkeepEvery = time.Minute
)

// upkeep removes what has expired, and audit entries older than that many days;
// 0 keeps them. One replica does it.
func upkeep(ctx context.Context, s *fleet.Service, auditDays int, m *metrics.Metrics, log *slog.Logger) {
	err := s.DB.Lead(ctx, "upkeep", upkeepLease, func(ctx context.Context, _ store.Lease) error {
		m.Leads("upkeep", true)
		defer m.Leads("upkeep", false)
		ticker := time.NewTicker(upkeepEvery)
		defer ticker.Stop()
		for {
			if err := s.DB.DropExpired(ctx, s.Now()); err != nil && ctx.Err() == nil {
				log.Error("removing expired sessions", "error", err)
			}
			if auditDays > 0 {
				n, err := s.DB.PruneAudit(ctx, s.Now().AddDate(0, 0, -auditDays))
				if err != nil && ctx.Err() == nil {
					log.Error("removing old audit entries", "error", err)
				}
				if n > 0 {
					log.Info("removed old audit entries", "entries", n, "older_than_days", auditDays)
				}
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		log.Error("upkeep", "error", err)
	}
}

// serveMetrics answers Prometheus on an address of its own, which need not be
// open to agents.
func serveMetrics(ctx context.Context, address string, m *metrics.Metrics, log *slog.Logger) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics-listen %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Serve(ctx, l); err != nil {
			log.Error("metrics", "error", err)
		}
	}()
	log.Info("serving metrics", "endpoint", "http://"+l.Addr().String()+"/metrics")
	return func() { cancel(); <-done }, nil
}
