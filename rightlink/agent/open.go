// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/enroll"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/features"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/loglevel"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/scripts"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/spool"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/state"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/vars"
)

// ErrRunning says that another agent runs on this machine.
var ErrRunning = errors.New("another rightlink runs on this machine")

// finalLimit is for what comes after the decommission scripts.
const finalLimit = 8 * time.Second

// open takes the lock and reads what is on disk; nothing is sent yet.
func open(opt Options) (a *Agent, err error) {
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	if opt.Commands == nil {
		opt.Commands = run.Exec{}
	}
	if opt.Notify == nil {
		opt.Notify = func(string) {}
	}
	if opt.Packages == nil {
		opt.Packages = scripts.NewInstaller(opt.Clock)
	}
	if opt.Level == nil {
		opt.Level = new(slog.LevelVar)
	}
	a = &Agent{opt: opt, log: opt.Log, booted: make(chan struct{})}
	if a.id, err = identity.Load(opt.Root.Identity()); err != nil {
		return nil, err
	}
	if a.unlock, err = lock(opt.Root); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.unlock()
		}
	}()
	if a.spool, err = spool.Read(opt.Root); err != nil {
		a.log.Warn("the spool is incomplete; scripts see fewer variables", "error", err)
	}
	if a.store, err = state.Open(opt.Root); err != nil {
		return nil, err
	}
	if a.past, err = state.OpenPast(opt.Root); err != nil {
		return nil, err
	}
	if a.vars, err = vars.Open(opt.Root.Vars()); err != nil {
		return nil, err
	}
	a.session, err = session.New(session.Options{
		Identity: a.id, Version: opt.Version, CAFile: opt.Root.CA(), Clock: opt.Clock, Log: a.log, Transport: opt.Transport,
		Credential: enroll.NewCredential(opt.Root, a.id, a.log),
		OnContact: func(at time.Time) {
			if err := a.store.Contact(at); err != nil {
				a.log.Warn("noting the last contact", "error", err)
			}
		},
	})
	return a, err
}

// begin finds out what this start means and saves it.
func (a *Agent) begin() (state.Start, error) {
	start, err := a.store.Begin(a.id.AgentID(), a.spool.ResourceUID)
	if err != nil {
		return start, err
	}
	if start == state.Bundled {
		if err := a.past.Forget(); err != nil {
			return start, err
		}
	}
	if f, _ := a.store.Get(); f.LogLevel != loglevel.Number(slog.LevelInfo) {
		a.opt.Level.Set(loglevel.FromNumber(f.LogLevel))
	}
	if start != state.Restart { // what was asked for has happened
		if err := a.vars.SetShutdown("", false); err != nil {
			return start, err
		}
	}
	// Left over by an agent that was killed while a script ran.
	old, _ := filepath.Glob(filepath.Join(a.opt.Root.Scripts(), "rll-*"))
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			a.log.Warn("removing an old script directory", "error", err)
		}
	}
	a.log.Info("rightlink starts", "version", a.opt.Version, "start", start, "state", a.value(), "identity", a.id.AgentID())
	return start, nil
}

// close sends the last of the audit text and lets the lock go.
func (a *Agent) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalLimit)
	defer cancel()
	a.mu.Lock()
	entries := slices.Clone(a.audits) // a thread that ends takes its own out
	a.mu.Unlock()
	for _, entry := range entries {
		if err := entry.Close(ctx); err != nil {
			a.log.Warn("the end of an audit entry is lost", "error", err)
		}
	}
	a.unlock()
}

// lock makes sure that one agent runs; the file holds its process id.
func lock(root paths.Root) (func(), error) {
	if err := os.MkdirAll(root.RunDir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(root.Lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := Running(root)
		_ = f.Close()
		return nil, fmt.Errorf("%w (process %d)", ErrRunning, pid)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Running returns the process id of the running agent, if there is one.
func Running(root paths.Root) (pid int, ok bool) {
	f, err := os.Open(root.Lock())
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false // closing the file lets the lock go
	}
	text, err := os.ReadFile(root.Lock())
	if err != nil {
		return 0, true
	}
	pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
	return pid, true
}

// features reads the switches of this machine, which can change at any time.
func (a *Agent) features() features.Features {
	f, err := features.Load(a.opt.Root.Features())
	if err != nil {
		a.log.Warn("features.yml cannot be read; its switches keep their defaults", "error", err)
	}
	return f
}

func (a *Agent) value() string {
	f, _ := a.store.Get()
	return f.Value
}

func (a *Agent) chance() float64 { return rand.Float64() } //nolint:gosec // jitter needs no cryptography

func (a *Agent) notify(text string) { a.opt.Notify(text) }

// status shows in "systemctl status".
func (a *Agent) status(text string) { a.notify("STATUS=" + text) }

// extend asks the service manager for the time that decommissioning takes.
func (a *Agent) extend(d time.Duration) {
	a.notify(fmt.Sprintf("STOPPING=1\nSTATUS=decommissioning\nEXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}
