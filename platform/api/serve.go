// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Time-outs of the server. An agent gives up after 35 s.
const (
	headerTimeout   = 10 * time.Second
	readTimeout     = 60 * time.Second
	writeTimeout    = 60 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 20 * time.Second
)

// pace is how long clients may take.
type pace struct{ header, read, write, idle time.Duration }

var honest = pace{headerTimeout, readTimeout, writeTimeout, idleTimeout}

// CertFunc returns the certificate of the moment, so that it can be renewed
// without a restart.
type CertFunc func() (*tls.Certificate, error)

// Serve answers on the listener until ctx ends. Then it lets running requests
// finish and tells the agents that wait for events to come back, which takes
// them to another replica, or to this one when it runs again.
func (s *Server) Serve(ctx context.Context, l net.Listener, cert CertFunc) error {
	srv := &http.Server{
		Handler:           s.root(),
		ReadHeaderTimeout: s.pace.header, ReadTimeout: s.pace.read, WriteTimeout: s.pace.write, IdleTimeout: s.pace.idle,
		MaxHeaderBytes: 64 << 10,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert() },
		},
		ErrorLog: slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
	if s.opt.TLS != nil {
		s.opt.TLS(srv.TLSConfig)
	}
	routes, stopRouting := context.WithCancel(context.WithoutCancel(ctx))
	routing := make(chan struct{})
	go func() { defer close(routing); s.hub.Run(routes) }()
	defer func() { stopRouting(); <-routing }()
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(l, "", "") }()
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-time.After(s.opt.Drain):
	}
	stopRouting() // which ends the waiting of agents, that Shutdown would wait for
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return errors.Join(fmt.Errorf("shut down: %w", err), srv.Close())
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
