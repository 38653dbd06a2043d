// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package api is the platform's HTTP side: the calls of RightLink agents and of
// people's tools in the forms of RightScale API 1.5. It turns requests into calls of package fleet
// and errors into the statuses and texts that the original's clients expect.
package api

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
	"github.com/rightimage/packer-plugin-rightimage/platform/router"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Options of a Server.
type Options struct {
	Log *slog.Logger
	// PublicHost is the host[:port] that agents are told to use when they came
	// by a name that is not ours.
	PublicHost string
	// Names are the host names and addresses of the server certificate.
	Names []string
	// UI is the dashboard: it gets "/" and what is below "/ui". nil for none.
	UI http.Handler
	// Machines launches and ends machines; nil where no cloud can be reached.
	Machines Machines
	// Observer is told about requests; nil for nobody.
	Observer Observer
	// TLS changes how connections are secured; nil for the certificate that Serve
	// is given.
	TLS func(*tls.Config)
	// Drain is how long the health check says that this replica goes before it
	// stops taking connections, so that a load balancer looks elsewhere.
	Drain time.Duration
}

// Server answers requests.
type Server struct {
	fleet *fleet.Service
	opt   Options
	limit *attempts.Limiter
	admit *admission
	hub   *router.Hub
	// access knows the people.
	access *access.Service
	pace   pace
	// draining is set when the server has begun to stop.
	draining atomic.Bool
}

// New makes a Server.
func New(f *fleet.Service, opt Options) *Server {
	if opt.Observer == nil {
		opt.Observer = unobserved{}
	}
	return &Server{fleet: f, opt: opt, limit: attempts.New(wrongLogins, f.Now), admit: newAdmission(opt.Observer), hub: router.New(events{f}, opt.Log),
		access: access.New(f.DB, func() time.Time { return f.Now() }), pace: honest}
}

// Agents is the number of agents that wait for events here.
func (s *Server) Agents() int { return s.hub.Waiting() }

// Events is how many events were given to agents.
func (s *Server) Events() int64 { return s.hub.Sent() }

// Handler returns the routes. This is the table of contents of the API.
func (s *Server) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(s.logged, s.recovered, s.admit.rated, normalPath, limited)
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusNotFound, "no such route") })
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusMethodNotAllowed, "method not allowed")
	})

	for _, e := range s.entries() {
		h := http.Handler(e.do)
		if !e.open {
			h = s.authenticated(allowed(e.rule, h))
		}
		if !strings.HasSuffix(e.path, wire.PathHealthCheck) && !strings.HasPrefix(e.path, "/api"+wire.PathAttachments) {
			h = versioned(versionFor(e.path))(h)
		}
		r.Method(e.method, e.path, h)
	}
	return r
}

// host is the name under which the caller reached us, if it is one of ours:
// what we answer must work from where the caller is.
func (s *Server) host(r *http.Request) string {
	name := r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		name = h
	}
	if ip := net.ParseIP(name); ip != nil {
		name = ip.String()
	}
	if slices.Contains(s.opt.Names, name) || s.opt.PublicHost == "" {
		return r.Host
	}
	return s.opt.PublicHost
}
