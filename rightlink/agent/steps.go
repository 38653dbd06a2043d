// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/audit"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/enroll"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/scripts"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/state"
)

// connect authorises, however long it takes, and learns the self href.
func (a *Agent) connect(ctx context.Context) error {
	if err := a.session.Connect(ctx, session.RunPolicy()); err != nil {
		return err
	}
	if facts, err := enroll.Load(a.opt.Root); err != nil || facts.Identity != a.id.AgentID() {
		if _, err := enroll.Save(a.opt.Root, a.id, a.session.Facts(), a.opt.Version, a.opt.Clock.Now()); err != nil {
			return err
		}
	}
	return a.persist(ctx, "asking for the instance's own href", never, func() error {
		href, err := a.session.SelfHref(ctx)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.selfHref = href
		return err
	})
}

// declare announces the agent. A platform that refuses (the token belongs to
// another living instance) is asked again, but rarely; nothing runs meanwhile.
func (a *Agent) declare(ctx context.Context, start state.Start) error {
	request := wire.DeclareRequest{ResourceUID: a.spool.ResourceUID, Cloud: a.spool.Cloud, ImageUID: a.spool.ImageUID()}
	if ip := a.spool.PublicIP(); ip != "" {
		request.PublicAddresses = []string{ip}
	}
	if ip := a.spool.PrivateIP(); ip != "" {
		request.PrivateAddresses = []string{ip}
	}
	return a.persist(ctx, "declaring this agent", never, func() error {
		agentID, err := a.session.Declare(ctx, request)
		if err == nil {
			a.declared = true
			a.log.Info("declared", "agent_id", agentID, "resource_uid", request.ResourceUID, "start", start, "self", a.selfHref)
		}
		return err
	})
}

// never and refused say which errors of a call are not repeated.
func never(session.Class) bool { return false }

func refused(c session.Class) bool { return c == session.Refused || c == session.ServerError }

// persist repeats a call whose own repetitions were not enough: soon if the
// platform is away, more and more rarely if it says no. It gives up when
// final says so, and when ctx ends.
func (a *Agent) persist(ctx context.Context, what string, final func(session.Class) bool, call func() error) error {
	away := session.Schedule{First: 15 * time.Second, Factor: 1, Max: 15 * time.Second, Tries: session.Forever}
	rare := session.RunPolicy()[session.Refused]
	for n := 0; ; n++ {
		err := call()
		if err == nil || ctx.Err() != nil {
			return err
		}
		class := session.ClassOf(err)
		if final(class) {
			return err
		}
		schedule := rare
		if class == session.NotResponding || class == session.Throttled {
			schedule = away
		}
		wait := schedule.Wait(n, a.chance(), 0)
		a.status(what + ": waiting for the platform")
		a.log.Warn(what+" did not work", "wait", wait.Round(time.Second), "error", err)
		if err := a.opt.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (a *Agent) bootBundle(ctx context.Context) (bundle wire.ExecutableBundle, err error) {
	err = a.persist(ctx, "getting the boot scripts", refused, func() (err error) {
		bundle, err = a.session.BootBundle(ctx, 0)
		return err
	})
	if err != nil && ctx.Err() == nil {
		entry := a.newAudit(ctx, 0, "Stranded: the boot scripts cannot be had")
		entry.Error(err.Error())
	}
	return bundle, err
}

// Rules of the original for inputs that have no value yet.
const (
	inputsEvery = 20 * time.Second
	inputsLimit = 45 * time.Minute
)

// MissingInputsError names the inputs that got no value in time.
type MissingInputsError struct{ Inputs []string }

func (e *MissingInputsError) Error() string {
	return fmt.Sprintf("these inputs had no value within %s: %s", inputsLimit, strings.Join(e.Inputs, ", "))
}

// awaitInputs replaces scripts with missing inputs by their complete form as
// soon as the platform has it.
func (a *Agent) awaitInputs(ctx context.Context, bundle *wire.ExecutableBundle, entry *audit.Log) error {
	began := a.opt.Clock.Now()
	for n := 0; ; n++ {
		ids, names := missing(bundle.Executables)
		if len(ids) == 0 {
			return nil
		}
		if n == 0 {
			entry.Status("Waiting for missing inputs: " + strings.Join(names, ", "))
		}
		if a.opt.Clock.Now().Sub(began) >= inputsLimit {
			err := &MissingInputsError{Inputs: names}
			entry.Error(err.Error())
			entry.Status("Stranded: missing inputs")
			return err
		}
		if err := a.opt.Clock.Sleep(ctx, inputsEvery); err != nil {
			return err
		}
		complete, err := a.session.MissingAttributes(ctx, ids)
		if err != nil {
			a.log.Warn("asking for missing inputs", "error", err)
			continue
		}
		for _, s := range complete {
			if i := slices.IndexFunc(bundle.Executables, func(old wire.RightScript) bool { return old.ID == s.ID }); i >= 0 {
				bundle.Executables[i] = s
			}
		}
	}
}

// missing returns the scripts that are not ready and what they lack.
func missing(list []wire.RightScript) (ids []int64, names []string) {
	for _, s := range list {
		var unready []string
		for name, flags := range s.InputFlags {
			if slices.Contains(flags, wire.FlagUnready) {
				unready = append(unready, name)
			}
		}
		if s.Ready && len(unready) == 0 {
			continue
		}
		if len(unready) == 0 {
			unready = []string{"some of " + s.Nickname}
		}
		slices.Sort(unready)
		ids, names = append(ids, s.ID), append(names, unready...)
	}
	slices.Sort(names)
	return ids, slices.Compact(names)
}

// settle ends the boot with the given state.
func (a *Agent) settle(ctx context.Context, value string) error {
	if err := a.store.Set(value, ""); err != nil {
		return err
	}
	a.log.Info("boot ends", "state", value)
	a.record(ctx)
	return nil
}

// record tells the platform the current state. A failure is no reason to do
// anything but to try later.
func (a *Agent) record(ctx context.Context) {
	if !a.store.Unrecorded() {
		return
	}
	if err := a.store.Record(ctx, a.session, a.opt.Clock); err != nil {
		a.log.Warn("the platform did not take the state", "error", err)
	}
}

// recordLimit bounds the record of a shutdown.
const recordLimit = 30 * time.Second

func (a *Agent) recordWithin(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.record(ctx)
}

// runner runs bundles; kind is set while decommissioning.
func (a *Agent) runner(kind string) scripts.Runner {
	f, _ := a.store.Get()
	return scripts.Runner{
		Root: a.opt.Root, Downloader: a.session, Packages: a.opt.Packages, Past: a.past, Clock: a.opt.Clock, Log: a.log,
		Machine: scripts.Machine{
			Identity: a.id, Spool: a.spool, SelfHref: a.selfHref, Distro: scripts.Distro(a.opt.Root),
			Rebooted: f.Rebooted, DecommissionReason: kind, Env: a.vars.Env(),
		},
	}
}

// newAudit starts an entry that lives until the agent ends, because children
// of scripts may write for that long.
func (a *Agent) newAudit(ctx context.Context, id int64, summary string) *audit.Log {
	entry := audit.New(context.WithoutCancel(ctx), audit.Options{Sink: a.session, ID: id, AuditeeHref: a.selfHref, Summary: summary, Log: a.log})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.audits = append(a.audits, entry)
	return entry
}
