// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/audit"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/events"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/scripts"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// receive takes the platform's events for as long as the agent lives.
func (a *Agent) receive(ctx context.Context) {
	r := events.Receiver{
		Router: a.session, File: a.opt.Root.Events(), Clock: a.opt.Clock, Chance: a.chance, Log: a.log,
		Take: func(e wire.Event) { a.take(ctx, e) },
		Connected: func(how string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.router = how
		},
	}
	r.Run(ctx)
}

// take acts on one event. Whatever lasts goes elsewhere: the next event waits.
func (a *Agent) take(ctx context.Context, e wire.Event) {
	switch e.Path {
	case wire.ActorScheduleBundle, wire.ActorExecute:
		a.queue(ctx, e)
	case wire.ActorScheduleDecommission:
		var d wire.Decommission
		if err := json.Unmarshal(e.Data, &d); err != nil {
			a.log.Error("a request to shut down cannot be read", "error", err)
			return
		}
		go a.report("shutting down", func() error { return a.goDown(ctx, d.Kind, false) })
	case wire.ActorReboot:
		go a.report("rebooting", func() error { return a.goDown(ctx, wire.KindReboot, false) })
	case wire.ActorLoginPolicy:
		var p wire.LoginPolicy
		if err := json.Unmarshal(e.Data, &p); err != nil {
			a.log.Error("a login policy cannot be read", "error", err)
			return
		}
		go a.report("applying a login policy", func() error { return a.applyLogins(ctx, &p) })
	case wire.ActorRestart, wire.ActorReenroll:
		a.restart(e.Path == wire.ActorReenroll)
	default:
		a.log.Warn("an event that this agent does not know is dropped", "path", e.Path)
	}
}

func (a *Agent) report(what string, do func() error) {
	if err := do(); err != nil {
		a.log.Error(what, "error", err)
	}
}

// queue puts a bundle on its thread.
func (a *Agent) queue(ctx context.Context, e wire.Event) {
	var bundle wire.ExecutableBundle
	if err := json.Unmarshal(e.Data, &bundle); err != nil {
		a.log.Error("a bundle cannot be read", "uuid", e.UUID, "error", err)
		return
	}
	if err := a.threads.Add(bundle.Policy.ThreadName, func() { a.operational(ctx, bundle) }); err != nil {
		entry := a.newAudit(ctx, bundle.AuditID, "Operational script")
		abort(entry, bundle, err.Error())
		go a.closeLater(ctx, entry, 0)
	}
}

// lateOutput is how long children of an operational script may still write to
// its audit entry.
const lateOutput = 10 * time.Minute

// operational runs one bundle, once the boot is over. Whatever comes of it, the
// state stays.
func (a *Agent) operational(ctx context.Context, bundle wire.ExecutableBundle) {
	select {
	case <-a.booted:
	case <-ctx.Done():
	}
	entry := a.newAudit(ctx, bundle.AuditID, "Operational script")
	wait := time.Duration(0)
	_, lacking := missing(bundle.Executables)
	switch v := a.value(); {
	case ctx.Err() != nil:
		abort(entry, bundle, "the agent stopped before it could run this")
	case v != wire.StateOperational && v != wire.StateStranded:
		abort(entry, bundle, "the instance is "+v)
	case len(lacking) > 0:
		abort(entry, bundle, "these inputs have no value: "+strings.Join(lacking, ", "))
	default:
		wait = lateOutput
		if err := a.runner("").Run(ctx, bundle, scripts.Operational, entry); err != nil {
			a.log.Warn("operational script", "error", err)
		}
	}
	go a.closeLater(ctx, entry, wait)
}

func abort(entry *audit.Log, bundle wire.ExecutableBundle, why string) {
	names := make([]string, 0, len(bundle.Executables))
	for _, s := range bundle.Executables {
		names = append(names, s.Nickname)
	}
	entry.Error(why)
	entry.Status("Aborted: " + strings.Join(names, ", "))
}

// closeLater ends an audit entry while the agent lives on. When the agent ends
// first, close does it.
func (a *Agent) closeLater(ctx context.Context, entry *audit.Log, after time.Duration) {
	if a.opt.Clock.Sleep(ctx, after) != nil {
		return
	}
	if err := entry.Close(ctx); err != nil {
		return // kept, for close to try once more
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.audits = slices.DeleteFunc(a.audits, func(e *audit.Log) bool { return e == entry })
}

// threadsEnd is how long scripts that are told to end are waited for.
const threadsEnd = 8 * time.Second

// awaitThreads waits for operational scripts that have been told to end.
func (a *Agent) awaitThreads() {
	done := make(chan struct{})
	go func() { defer close(done); a.threads.Wait() }()
	select {
	case <-done:
	case <-time.After(threadsEnd):
		a.log.Warn("operational scripts do not end")
	}
}

// Tags of the instance that this agent obeys.
const (
	tagLogLevel   = "rs_agent_dev:log_level="
	tagAutoLaunch = "rs_launch:type=auto"
	tagLogin      = "rs_login:state=user"
	// tagsLimit bounds the question about tags at boot; autoLimit is the time
	// that an automatically launched instance has for its boot.
	tagsLimit = 20 * time.Second
	autoLimit = 45 * time.Minute
)

// startupTags asks for the instance's tags and obeys them. A platform that does
// not answer is no reason to wait.
func (a *Agent) startupTags(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, tagsLimit)
	defer cancel()
	tags, err := a.session.Tags(limited, a.selfHref)
	if err != nil {
		if session.ClassOf(err) != session.Refused {
			a.log.Warn("asking for the instance's tags", "error", err)
		}
		return
	}
	if err := a.store.SetStartupTags(tags); err != nil {
		a.log.Warn("noting the instance's tags", "error", err)
	}
	for _, tag := range tags {
		if level, ok := strings.CutPrefix(tag, tagLogLevel); ok {
			a.report("tag "+tag, func() error { return a.setLogLevel(level) })
		}
	}
	if slices.Contains(tags, tagAutoLaunch) && a.value() == wire.StateBooting {
		go a.endUnlessBooted(ctx)
	}
}

// endUnlessBooted terminates an instance that nobody watches and that does not
// become operational.
func (a *Agent) endUnlessBooted(ctx context.Context) {
	if a.opt.Clock.Sleep(ctx, autoLimit) != nil || a.value() == wire.StateOperational {
		return
	}
	a.log.Error("the instance did not become operational in time and has the tag "+tagAutoLaunch, "limit", autoLimit)
	a.report("terminating", func() error { return a.goDown(ctx, wire.KindTerminate, false) })
}
