// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/instance"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Agent runs stages on one machine. Root, Run and Log must be set.
type Agent struct {
	// Root is the root directory; "/" on the machine itself.
	Root string
	// Run starts commands.
	Run run.Runner
	// Stream starts commands whose output belongs into the log; Run when nil.
	Stream run.Runner
	Log    *slog.Logger
	// EnrolTime replaces the constant of that name.
	EnrolTime time.Duration

	// The rest is set by tests only.

	// WaitNetwork waits for the network; nil means the real one.
	WaitNetwork func(ctx context.Context, bound time.Duration) error
	// Hostname and SetHostname read and set the kernel's host name.
	Hostname    func() (string, error)
	SetHostname func(string) error
	// Live makes the init system count as running.
	Live bool
	// TrialClock is the clock of an upgraded agent's trial.
	TrialClock wait.Clock

	cloud cloud.Cloud
	// instance and found are what a stage learned, for the status file.
	instance string
	found    *detect.Facts
	// dormant is what foretell says for stage "rightimage".
	dormant *Outcome
}

// networkBound is how long a stage waits for an address. The target
// network-online is not trusted: minimal systems have nobody who holds it back.
const networkBound = 2 * time.Minute

// ErrNeeded means that a stage was not run since one before it did not succeed.
var ErrNeeded = errors.New("an earlier stage did not succeed")

// Do runs one stage now, whatever was done before, after the stages it needs.
func (a *Agent) Do(ctx context.Context, name string) (Outcome, error) {
	s, ok := Find(name)
	if !ok {
		return Outcome{}, fmt.Errorf("there is no stage %q", name)
	}
	for _, n := range s.Needs {
		if err := a.ensure(ctx, n); err != nil {
			err = fmt.Errorf("%w: %w", ErrNeeded, err)
			return Outcome{Result: status.Failed}, errors.Join(err, a.end(s.Name, Outcome{Result: status.Failed, Detail: oneLine(err)}))
		}
	}
	unlock, err := a.lock(ctx, s.Name)
	if err != nil {
		return Outcome{}, err
	}
	defer unlock()
	return a.do(ctx, s)
}

// ensure runs a stage unless it has succeeded in this boot. If it runs now in
// another process, that is waited for.
func (a *Agent) ensure(ctx context.Context, name string) error {
	s, _ := Find(name)
	for _, n := range s.Needs {
		if err := a.ensure(ctx, n); err != nil {
			return err
		}
	}
	unlock, err := a.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	if a.doneThisBoot(name) {
		return nil
	}
	if _, err := a.do(ctx, s); err != nil {
		return fmt.Errorf("stage %s: %w", name, err)
	}
	return nil
}

// do runs a stage between its notes in the status file; the marker comes last.
func (a *Agent) do(ctx context.Context, s Stage) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	started := time.Now()
	if err := status.UpdateLazily(a.Root, func(st *status.Status) error {
		st.Version = version.String()
		st.Begin(s.Name)
		return nil
	}); err != nil {
		a.Log.Warn("the status file cannot be written", "error", err) // the stage matters more
	}
	out, err := a.attempt(ctx, s)
	if err != nil {
		out.Result, out.Detail = status.Failed, oneLine(err)
	}
	if endErr := a.end(s.Name, out); endErr != nil {
		a.Log.Error("the status file cannot be written", "error", endErr)
	}
	if err != nil {
		return out, err
	}
	a.Log.Info("stage "+s.Name, "result", string(out.Result), "detail", out.Detail,
		"changed", len(out.Changed), "took", time.Since(started).Round(time.Millisecond))
	return out, a.markDone(s.Name)
}

// maxDetail bounds what the status file keeps of an error; the log has it all.
const maxDetail = 400

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + " …"
	}
	return text
}

func (a *Agent) attempt(ctx context.Context, s Stage) (Outcome, error) {
	if s.Network {
		if err := a.network(ctx); err != nil {
			return Outcome{}, err
		}
	}
	return s.run(a, ctx)
}

func (a *Agent) end(name string, out Outcome) error {
	return status.Update(a.Root, func(st *status.Status) error {
		st.BootID = instance.BootID(a.Root)
		if a.instance != "" {
			st.SetInstance(a.instance)
		}
		if a.found != nil {
			st.Facts = a.found
		}
		st.End(name, out.Result, out.Detail, out.Changed)
		if a.dormant != nil {
			st.End("rightimage", a.dormant.Result, a.dormant.Detail, nil)
		}
		return nil
	})
}

// network waits for an address, except where metadata is in files.
func (a *Agent) network(ctx context.Context) error {
	c, err := a.theCloud()
	if err != nil {
		return err
	}
	if c.Name() == "none" {
		return nil
	}
	if a.WaitNetwork != nil {
		return a.WaitNetwork(ctx, networkBound)
	}
	return instance.WaitNetwork(ctx, networkBound)
}

// theCloud opens the cloud that the machine is in, once.
func (a *Agent) theCloud() (cloud.Cloud, error) {
	if a.cloud != nil {
		return a.cloud, nil
	}
	facts, _ := detect.Detect(a.Root) // the cloud is known on an unknown system too
	c, err := cloud.New(facts.Cloud, cloud.Options{
		Root: a.Root, Session: filepath.Join(a.runDir(), "metadata.json"), Boot: instance.BootID(a.Root),
	})
	if err == nil {
		a.cloud = c
	}
	return c, err
}

// hooks returns the hooks of the machine's init system.
func (a *Agent) hooks(facts detect.Facts) (*hooks.Manager, error) {
	return hooks.New(a.Root, facts.Init, facts.InitRunning || a.Live, a.Run)
}

func (a *Agent) packages(facts detect.Facts) *packages.Manager {
	return &packages.Manager{Root: a.Root, Facts: facts, Run: a.Run}
}

func (a *Agent) stream() run.Runner {
	if a.Stream != nil {
		return a.Stream
	}
	return a.Run
}

func (a *Agent) path(elem ...string) string {
	return filepath.Join(append([]string{a.Root}, elem...)...)
}

// runDir holds locks and markers; it is empty after a boot.
func (a *Agent) runDir() string { return a.path("run/rightimage") }

// lock keeps two processes from running the same stage at once.
func (a *Agent) lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(a.runDir(), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(a.runDir(), name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock stage %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("wait for the stage %s that runs already: %w", name, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// doneThisBoot and markDone keep a marker with the boot's id, in case the
// runtime directory outlives a boot.
func (a *Agent) doneThisBoot(name string) bool {
	boot := instance.BootID(a.Root)
	text, err := os.ReadFile(filepath.Join(a.runDir(), name+".done"))
	return err == nil && boot != "" && string(text) == boot
}

func (a *Agent) markDone(name string) error {
	if err := os.MkdirAll(a.runDir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(a.runDir(), name+".done"), []byte(instance.BootID(a.Root)), 0o600)
}
