// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package agent is the life of the persistent agent, from the start of its
// process to the end of the machine. This file tells the story; the other
// files hold the details.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/audit"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/scripts"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/shutdown"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/spool"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/state"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/threads"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/vars"
)

// Options of the agent; Root, Version and Log must be set.
type Options struct {
	Root    paths.Root
	Version string
	Log     *slog.Logger
	// Level is the log level of Log, which others can change; nil for a fixed
	// one.
	Level *slog.LevelVar
	// Watchdog is within what time the service manager wants to hear of the
	// agent; 0 for never.
	Watchdog time.Duration
	// Notify tells the service manager how the agent is; nil for nobody.
	Notify func(state string)
	// The rest is set by tests only.
	Clock     clock.Clock
	Commands  run.Runner
	Transport http.RoundTripper
	Packages  scripts.PackageInstaller
}

// Agent is one run of the agent's process.
type Agent struct {
	opt      Options
	log      *slog.Logger
	id       identity.Identity
	spool    spool.Data
	store    *state.Store
	past     *state.Past
	session  *session.Session
	vars     *vars.Vars
	threads  threads.Threads
	booted   chan struct{} // closed when the boot scripts are over
	logins   sync.Mutex
	declared bool
	unlock   func()
	end      context.CancelCauseFunc

	mu       sync.Mutex // guards what follows
	selfHref string
	router   string // how events come
	audits   []*audit.Log
}

// Run lives until ctx ends (SIGTERM). Then, if the machine goes down, the
// decommission scripts run before Run returns.
func Run(ctx context.Context, opt Options) error {
	a, err := open(opt)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	start, err := a.begin()
	if err != nil {
		return err
	}
	a.notify("READY=1")
	ctx, a.end = context.WithCancelCause(ctx)
	defer a.end(nil)
	stop := a.serve()
	defer stop()
	if err := a.live(ctx, start); ctx.Err() == nil {
		return err
	}
	a.awaitThreads()
	if errors.Is(context.Cause(ctx), ErrRestart) {
		return ErrRestart
	}
	return a.leave(context.WithoutCancel(ctx))
}

// live is the time between start and SIGTERM; it ends with an error only, that
// of ctx or of the disk. Whatever the platform does is waited for or leads to
// stranded.
func (a *Agent) live(ctx context.Context, start state.Start) error {
	a.status("connecting to " + a.id.APIHostname)
	if err := a.connect(ctx); err != nil {
		return err
	}
	go a.session.KeepAlive(ctx)
	if err := a.declare(ctx, start); err != nil {
		return err
	}
	a.startupTags(ctx)
	go a.receive(ctx)
	if a.features().ManagedLogin {
		go a.report("managing logins", func() error { return a.manageLogins(ctx) })
	}
	if a.value() == wire.StateBooting {
		a.record(ctx)
		if err := a.boot(ctx); err != nil {
			return err
		}
	}
	close(a.booted)
	return a.stay(ctx)
}

// boot runs the boot scripts and settles the state.
func (a *Agent) boot(ctx context.Context) error {
	a.status("getting the boot scripts")
	bundle, err := a.bootBundle(ctx)
	entry := a.newAudit(ctx, bundle.AuditID, "Boot")
	if err == nil {
		a.status("waiting for missing inputs")
		err = a.awaitInputs(ctx, &bundle, entry)
	}
	if err == nil {
		a.status("running boot scripts")
		err = a.runner("").Run(ctx, bundle, scripts.Boot, entry)
	}
	if ctx.Err() != nil {
		return ctx.Err() // interrupted, not stranded: the next start boots again
	}
	value := wire.StateOperational
	if err != nil {
		value = wire.StateStranded
		a.log.Error("stranded in booting", "error", err)
	}
	return a.settle(ctx, value)
}

// recordAgain is how often a state that the platform did not take is offered
// once more.
const recordAgain = time.Minute

// stay keeps the session and the platform's picture of the state fresh.
func (a *Agent) stay(ctx context.Context) error {
	for {
		a.record(ctx)
		a.status(a.value())
		a.report("applying the login policy", func() error { return a.applyLogins(ctx, nil) })
		if err := a.opt.Clock.Sleep(ctx, recordAgain); err != nil {
			return err
		}
	}
}

// leave ends the agent and decommissions the instance, whether the machine
// goes down or the agent is stopped; only a restart of the service leaves
// everything as it is.
func (a *Agent) leave(ctx context.Context) error {
	kind, immediately := a.reason(shutdown.Kind(ctx, a.opt.Commands))
	if kind == "" {
		a.notify("STOPPING=1\nSTATUS=stopping; the service is restarted")
		a.log.Info("stopping; the service is restarted, so nothing is decommissioned")
		return nil
	}
	limit := a.features().DecommissionTimeout
	a.extend(limit + finalLimit)
	ctx, cancel := context.WithTimeout(ctx, limit+finalLimit)
	defer cancel()
	if immediately {
		a.log.Warn("the decommission scripts are left out, as asked")
	} else if err := a.decommission(ctx, kind, limit); err != nil {
		a.log.Error("decommission", "kind", kind, "error", err)
	}
	if !a.declared { // the platform does not know this boot
		return a.store.Set(wire.StateDecommissioned, kind)
	}
	if err := a.store.RecordFinal(ctx, a.session, kind); err != nil {
		a.log.Error("final record", "error", err)
	}
	a.log.Info("decommissioned", "kind", kind)
	return nil
}

// decommission runs the decommission scripts, if the boot had come to its end.
func (a *Agent) decommission(ctx context.Context, kind string, limit time.Duration) error {
	if v := a.value(); !a.declared || v != wire.StateOperational && v != wire.StateStranded {
		return nil
	}
	a.log.Info("decommissioning", "kind", kind, "limit", limit)
	if err := a.store.Set(wire.StateDecommissioning, kind); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.recordWithin(ctx, recordLimit) // a platform that is away must not hold the shutdown
	bundle, err := a.session.DecommissionBundle(ctx)
	if err != nil || len(bundle.Executables) == 0 {
		return err
	}
	entry := a.newAudit(ctx, bundle.AuditID, "Decommission")
	err = a.runner(kind).Run(ctx, bundle, scripts.Decommission, entry)
	if errors.Is(err, context.DeadlineExceeded) {
		a.log.Warn("the decommission scripts ran out of time; set decommission.timeout in features.yml for more", "limit", limit)
	}
	return err
}
