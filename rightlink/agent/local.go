// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/features"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/localapi"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/login"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/loglevel"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// serve opens the local API and tells the watchdog that the agent lives, until
// the returned function is called.
func (a *Agent) serve() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	if a.opt.Watchdog > 0 {
		go a.watchdog(ctx)
	}
	api, err := localapi.Start(local{a}, a.opt.Root.Secret(), a.log)
	if err != nil { // the instance must boot all the same
		a.log.Error("there is no local API", "error", err)
		return cancel
	}
	return func() {
		cancel()
		api.Close()
	}
}

// watchdog speaks up twice per limit, as long as the state can be had: an agent
// whose locks are stuck is restarted.
func (a *Agent) watchdog(ctx context.Context) {
	ticker := time.NewTicker(a.opt.Watchdog / 2)
	defer ticker.Stop()
	for {
		a.value()
		a.notify("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// local is what the local API may ask of the agent.
type local struct{ a *Agent }

func (l local) Env() map[string]string              { return l.a.vars.Env() }
func (l local) SetEnv(name, value string) error     { return l.a.vars.SetEnv(name, value) }
func (l local) DeleteEnv(name string) (bool, error) { return l.a.vars.DeleteEnv(name) }

// Names of the agent's facts.
const (
	procShutdownKind = "shutdown_kind"
	procLogLevel     = "log_level"
)

func (l local) Proc() map[string]string {
	kind, _ := l.a.vars.Shutdown()
	l.a.mu.Lock()
	router, self := l.a.router, l.a.selfHref
	l.a.mu.Unlock()
	return map[string]string{
		"version": l.a.opt.Version, "identity": l.a.id.AgentID(), "protocol_version": strconv.Itoa(wire.ProtocolVersion),
		procShutdownKind: kind, procLogLevel: loglevel.Name(l.a.opt.Level.Level()),
		"state": l.a.value(), "self_href": self, "resource_uid": l.a.spool.ResourceUID, "pid": strconv.Itoa(os.Getpid()),
		"account": l.a.id.Account, "client_id": l.a.id.ClientID, "api_hostname": l.a.id.APIHostname,
		"connected": strconv.FormatBool(l.a.session.Authorized()), "router": router,
	}
}

func (l local) SetProc(name, value string) error {
	switch name {
	case procShutdownKind:
		if value != "" && !isKind(value) {
			return errKind(value)
		}
		return l.a.vars.SetShutdown(value, false)
	case procLogLevel:
		return l.a.setLogLevel(value)
	}
	return fmt.Errorf("%q cannot be changed; %s and %s can", name, procShutdownKind, procLogLevel)
}

func (l local) Schedule(ctx context.Context, r wire.ScheduleRequest) (string, error) {
	return l.a.session.Schedule(ctx, r)
}

func (l local) Upgrade(ctx context.Context, version string) error {
	args := []string{"upgrade", "--background"}
	if version != "" {
		args = append(args, "--version", version)
	}
	_, err := l.a.opt.Commands.Run(ctx, l.a.opt.Root.Bootstrap(), args...)
	return err
}

func (l local) LoginMode() string { return l.a.features().Value(features.ManagedLogin) }

func (l local) ManageLogin(ctx context.Context, mode string) error {
	on := mode != "off" // compat is the original's word for an older way of doing the same
	value := "off"
	if on {
		value = "on"
	}
	if err := features.Set(l.a.opt.Root.Features(), features.ManagedLogin, value); err != nil {
		return err
	}
	return l.a.manageLogins(ctx)
}

// Shutdown asks the platform, which then tells the agent. One that is away does
// not keep a machine from going down.
func (l local) Shutdown(ctx context.Context, kind string, immediately bool) error {
	if !isKind(kind) {
		return errKind(kind)
	}
	if !immediately {
		err := l.a.session.RequestShutdown(ctx, kind)
		if err == nil {
			return nil
		}
		l.a.log.Warn("the platform does not take the request to shut down; doing it all the same", "error", err)
	}
	return l.a.goDown(ctx, kind, immediately)
}

func (l local) Tags(ctx context.Context, add, remove []string) ([]string, error) {
	l.a.mu.Lock()
	self := l.a.selfHref
	l.a.mu.Unlock()
	if self == "" {
		return nil, errors.New("the agent is not connected to the platform yet")
	}
	if len(remove) > 0 {
		if err := l.a.session.DeleteTags(ctx, self, remove...); err != nil {
			return nil, err
		}
	}
	if len(add) > 0 {
		if err := l.a.session.AddTags(ctx, self, add...); err != nil {
			return nil, err
		}
	}
	return l.a.session.Tags(ctx, self)
}

func (l local) Forward(ctx context.Context, f session.Forwarded, w http.ResponseWriter) error {
	return l.a.session.Forward(ctx, f, w)
}

func isKind(kind string) bool {
	return kind == wire.KindReboot || kind == wire.KindStop || kind == wire.KindTerminate
}

func errKind(kind string) error {
	return fmt.Errorf("the kind of a shutdown is %q; want reboot, stop or terminate", kind)
}

// goDown reboots the machine or switches it off. The agent is told to end then,
// and decommissions the instance for this reason.
func (a *Agent) goDown(ctx context.Context, kind string, immediately bool) error {
	if !isKind(kind) {
		return errKind(kind)
	}
	if err := a.vars.SetShutdown(kind, immediately); err != nil {
		return err
	}
	command := "poweroff"
	if kind == wire.KindReboot {
		command = "reboot"
	}
	a.log.Warn("the machine goes down", "kind", kind, "immediately", immediately)
	// The machine may stop the agent before the command has ended. Killed for
	// that, the command would look failed and the reason be forgotten.
	ctx = context.WithoutCancel(ctx)
	_, err := a.opt.Commands.Run(ctx, command)
	if errors.Is(err, exec.ErrNotFound) { // an init script may come without sbin in its PATH
		_, err = a.opt.Commands.Run(ctx, "/sbin/"+command)
	}
	if err != nil { // whoever stops the agent later has reasons of their own
		err = errors.Join(err, a.vars.SetShutdown("", false))
	}
	return err
}

// reason joins what was asked for with what the machine does. Who asked knows
// best: the machine cannot tell a termination from a stop, and some init
// systems not even a reboot.
func (a *Agent) reason(seen string) (kind string, immediately bool) {
	asked, immediately := a.vars.Shutdown()
	if seen == "" || asked == "" {
		return seen, false
	}
	return asked, immediately
}

// ErrRestart ends an agent that was asked to begin anew. Nothing is
// decommissioned; the service manager starts it again.
var ErrRestart = errors.New("the agent was asked to start again")

// restart ends this process. With reenrol, what enrolment has left goes first;
// the key of an attested instance stays, since it is what proves it.
func (a *Agent) restart(reenrol bool) {
	a.log.Warn("the agent starts again", "reenrol", reenrol)
	if reenrol {
		if err := os.Remove(a.opt.Root.Session()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.log.Error("forgetting the enrolment", "error", err)
		}
	}
	a.end(ErrRestart)
}

func (l local) Restart(reenrol bool) { l.a.restart(reenrol) }

func (a *Agent) setLogLevel(text string) error {
	level, err := loglevel.Parse(text)
	if err != nil {
		return err
	}
	a.opt.Level.Set(level)
	return a.store.SetLogLevel(loglevel.Number(level))
}

// manageLogins begins or ends managing who may log in, as features.yml says.
func (a *Agent) manageLogins(ctx context.Context) error {
	m := login.Manager{Root: a.opt.Root, Commands: a.opt.Commands, Log: a.log}
	if !a.features().ManagedLogin {
		err := m.Off(ctx)
		if derr := a.session.DeleteTags(ctx, a.selfHref, tagLogin); derr != nil {
			a.log.Warn("removing the tag "+tagLogin, "error", derr)
		}
		return err
	}
	if err := a.session.AddTags(ctx, a.selfHref, tagLogin); err != nil {
		return err
	}
	p, err := a.session.LoginPolicy(ctx)
	if err != nil {
		return err
	}
	return a.applyLogins(ctx, &p)
}

// applyLogins applies a policy, or the last one again when p is nil.
func (a *Agent) applyLogins(ctx context.Context, p *wire.LoginPolicy) error {
	if !a.features().ManagedLogin {
		return nil
	}
	a.logins.Lock() // one at a time
	defer a.logins.Unlock()
	m := login.Manager{Root: a.opt.Root, Commands: a.opt.Commands, Log: a.log}
	if p == nil {
		return m.Again(ctx, a.opt.Clock.Now())
	}
	return m.Apply(ctx, *p, a.opt.Clock.Now())
}
