// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package scripts runs bundles of RightScripts: it fetches their attachments,
// installs their packages and executes them one after another, with their
// output streamed to an audit entry.
package scripts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Kind is why a bundle runs; it decides what a failure means.
type Kind string

// The kinds of bundles.
const (
	// Boot: a failure ends the bundle and strands the instance.
	Boot Kind = "Boot"
	// Operational: a failure ends the bundle, the state stays.
	Operational Kind = "Operational"
	// Decommission: a failure is logged and the next script runs, for there
	// is no second chance.
	Decommission Kind = "Decommission"
)

// failureTitle begins the audit summary of a failed script.
func (k Kind) failureTitle() string {
	if k == Boot {
		return "Stranded: "
	}
	return "Aborted: "
}

// Audit is the entry that a bundle writes to; *audit.Log is one.
type Audit interface {
	Section(title string)
	Status(text string)
	Info(text string)
	Error(text string)
	Output(text string)
	Flush(ctx context.Context) error
}

// Past remembers which scripts have succeeded; *state.Past is one.
type Past interface {
	Has(nickname string) bool
	Add(nickname string) error
}

// PackageInstaller installs packages; Installer is one.
type PackageInstaller interface {
	Install(ctx context.Context, names []string) error
}

// Runner runs bundles on this machine.
type Runner struct {
	Root       paths.Root
	Machine    Machine
	Downloader Downloader
	Packages   PackageInstaller
	Past       Past
	Clock      clock.Clock
	Log        *slog.Logger
}

// ScriptError is the failure of one script of a bundle.
type ScriptError struct {
	Script string
	Err    error
}

func (e *ScriptError) Error() string { return fmt.Sprintf("script %q: %v", e.Script, e.Err) }

func (e *ScriptError) Unwrap() error { return e.Err }

// flushLimit bounds the wait for the audit entry at the end of a bundle.
const flushLimit = 20 * time.Second

// Run prepares and runs all scripts of the bundle. The error tells the first
// failure; what it means for the instance is for the caller to say.
func (r Runner) Run(ctx context.Context, bundle wire.ExecutableBundle, kind Kind, to Audit) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushLimit)
		defer cancel()
		if err := to.Flush(ctx); err != nil {
			r.Log.Warn("the audit text of the bundle is not complete yet", "error", err)
		}
	}()
	scripts := bundle.Executables
	if len(scripts) == 0 {
		to.Status(string(kind) + ": no scripts to run")
		return nil
	}
	files, err := r.prepare(ctx, bundle, to)
	if err != nil {
		to.Error(err.Error())
		to.Status(kind.failureTitle() + "preparing " + strings.ToLower(string(kind)) + " scripts")
		return err
	}
	var first error
	for n := range scripts {
		err := r.script(ctx, scripts, n, files[n], kind, to)
		if first == nil && err != nil {
			first = err
		}
		if err != nil && (kind != Decommission || ctx.Err() != nil) {
			break
		}
	}
	return first
}

// prepare fetches all attachments and installs all packages before the first
// script runs. It returns the links of each script.
func (r Runner) prepare(ctx context.Context, bundle wire.ExecutableBundle, to Audit) ([]map[string]string, error) {
	store := cache{dir: r.Root.Attachments(), from: r.Downloader, clock: r.Clock}
	files := make([]map[string]string, len(bundle.Executables))
	for n, s := range bundle.Executables {
		files[n] = map[string]string{}
		for _, a := range s.Attachments {
			file, err := store.fetch(ctx, a, bundle.ReposeServers)
			if err != nil {
				return nil, &ScriptError{Script: s.Nickname, Err: err}
			}
			files[n][a.FileName] = file
			r.Log.Info("attachment", "script", s.Nickname, "file", a.FileName, "digest", a.Digest)
		}
	}
	packages := Packages(bundle.Executables)
	if len(packages) > 0 {
		to.Info("Packages required: " + strings.Join(packages, " "))
	}
	return files, r.Packages.Install(ctx, packages)
}

// script runs script n of the run list.
func (r Runner) script(ctx context.Context, list []wire.RightScript, n int, links map[string]string, kind Kind, to Audit) error {
	s := list[n]
	log := r.Log.With("script", s.Nickname, "kind", kind)
	log.Info("script starts")
	began := r.Clock.Now()
	to.Section("RightScript: " + s.Nickname)
	redactor := NewRedactor(r.secrets(s), to.Output)
	err := process{
		scratch: r.Root.Scripts(), number: n + 1, source: s.Source, links: links, output: redactor, log: log,
		env: func(dir string) []string {
			return Env(r.Machine, s, strings.Join(Packages(list), " "), dir, r.Past.Has(s.Nickname))
		},
	}.run(ctx)
	took := r.Clock.Now().Sub(began).Round(time.Millisecond)
	if err == nil {
		err = r.Past.Add(s.Nickname)
	}
	if err != nil {
		log.Warn("script failed", "error", err, "took", took)
		to.Error(explain(err))
		to.Status(kind.failureTitle() + s.Nickname)
		return &ScriptError{Script: s.Nickname, Err: err}
	}
	log.Info("script succeeded", "took", took)
	to.Info(fmt.Sprintf("Script exit status: 0, duration: %s", took))
	to.Status("Completed: " + s.Nickname)
	return nil
}

// secrets are the values that must not reach the audit entry: the inputs that
// came from credentials, the enrolment token, and a proxy's password.
func (r Runner) secrets(s wire.RightScript) []string {
	list := []string{r.Machine.Identity.ClientSecret.Reveal()}
	for _, name := range s.Secrets {
		list = append(list, s.Parameters[name])
	}
	if user, _, ok := strings.Cut(r.Machine.Identity.HTTPProxy, "@"); ok {
		if _, password, ok := strings.Cut(strings.TrimPrefix(user, "http://"), ":"); ok {
			list = append(list, password)
		}
	}
	return list
}

// explain says in words how a script ended.
func explain(err error) string {
	var exit *exec.ExitError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "the script did not end in time and was killed"
	case errors.Is(err, context.Canceled):
		return "the script was ended because the machine or the agent stops"
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return fmt.Sprintf("the script was killed by signal %d (%s)", int(status.Signal()), status.Signal())
		}
		return fmt.Sprintf("Script exit status: %d", exit.ExitCode())
	}
	return err.Error()
}
