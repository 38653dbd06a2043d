// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package web is the platform's dashboard: pages that the server renders, one
// style sheet, and htmx for what updates while a person looks at it. Every page
// works without JavaScript; only the updates need it. Like package api it is a
// door to the fleet and has no rules of its own but who may open which page.
package web

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/internal/attempts"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Base is the path of the dashboard on the platform's listener.
const Base = "/ui"

//go:embed templates static
var files embed.FS

// Machines is what the dashboard wants from the cloud; launch.Service is one.
// by says in the audit entry who asked.
type Machines interface {
	Launch(ctx context.Context, serverID int64, inputs map[string]string, by string) (store.Instance, error)
	Relaunch(ctx context.Context, serverID int64, by string) error
	Terminate(ctx context.Context, instance int64, by string) error
	Reboot(ctx context.Context, instance int64, by string) error
	Stop(ctx context.Context, instance int64, by string) error
	Start(ctx context.Context, instance int64, by string) error
}

// Options of a Server.
type Options struct {
	Log *slog.Logger
	// Machines is nil on a platform that launches nothing itself: servers are
	// then created here, and their user-data goes to the cloud by hand.
	Machines Machines
	// Clouds adds and changes clouds; nil where that is for the command line.
	Clouds Clouds
}

// wrongPasswords bounds wrong passwords.
var wrongPasswords = attempts.Bounds{PerName: 5, PerAddress: 30, Entries: 10000}

// Server answers the requests of people.
type Server struct {
	fleet  *fleet.Service
	access *access.Service
	opt    Options
	pages  *renderer
	limit  *attempts.Limiter
}

// New makes a Server. It fails only when the embedded templates are broken.
func New(f *fleet.Service, a *access.Service, opt Options) (*Server, error) {
	pages, err := newRenderer()
	if err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	return &Server{fleet: f, access: a, opt: opt, pages: pages, limit: attempts.New(wrongPasswords, f.Now)}, nil
}

// Handler returns the routes below Base, and "/", which leads there.
func (s *Server) Handler() http.Handler { return s.router() }

func (s *Server) router() chi.Router {
	r := chi.NewRouter()
	r.Use(s.recovered, secured, http.NewCrossOriginProtection().Handler, limited, middleware.GetHead)
	r.NotFound(s.plain(func(*call) error { return errNoPage }))
	r.MethodNotAllowed(s.plain(func(*call) error { return errNoMethod }))
	r.Get("/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, Base+"/", http.StatusSeeOther) })
	r.Get(Base, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, Base+"/", http.StatusSeeOther) })
	for _, one := range routes() {
		r.Method(one.method, Base+one.path, s.guarded(one))
	}
	return r
}

// call is one request.
type call struct {
	*Server
	w   http.ResponseWriter
	r   *http.Request
	who access.Principal // zero before the login
	// csrf is the token that forms carry; empty before the login.
	csrf string
	// fragment tells that htmx asks for a part of a page.
	fragment bool
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) account() int64 { return c.who.AccountID }

func (c *call) now() time.Time { return c.fleet.Now() }

// may tells whether the person has a role; templates ask the same.
func (c *call) may(role access.Role) bool { return c.who.May(role) }

// to sends the browser to another page of the dashboard.
func (c *call) to(path string) error {
	http.Redirect(c.w, c.r, Base+path, http.StatusSeeOther)
	return nil
}
