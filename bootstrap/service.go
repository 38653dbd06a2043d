// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/spool"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
)

// argv is the command line that runs this program again on the same root.
func (a *Agent) argv(self string, args ...string) []string {
	argv := []string{self}
	if filepath.Clean(a.Root) != "/" {
		argv = append(argv, "--root", a.Root)
	}
	return append(argv, args...)
}

// systemdRuns says that systemd supervises the agent, not we.
func (a *Agent) systemdRuns() (bool, detect.Facts) {
	facts, _ := detect.Detect(a.Root) // only the init system matters
	return facts.Init == detect.Systemd && facts.InitRunning, facts
}

// StartAgent starts the agent in the background: by systemd, or by our own
// supervisor, which runs the stages before it if they did not run yet. self is
// the path of this program.
func (a *Agent) StartAgent(ctx context.Context, self string) (string, error) {
	yes, facts := a.systemdRuns()
	if yes {
		m, err := a.hooks(facts)
		if err != nil {
			return "", err
		}
		return "systemd starts rightlink.service", m.StartAgent(ctx)
	}
	if facts.Chroot {
		return "not started: this is a chroot", nil
	}
	return a.StartSupervisor(ctx, self)
}

// StartSupervisor starts our own supervisor in the background.
func (a *Agent) StartSupervisor(ctx context.Context, self string) (string, error) {
	started, err := supervise.Start(ctx, a.Root, a.argv(self, "supervise", "run"))
	if err != nil {
		return "", err
	}
	if !started {
		return "the supervisor runs already", nil
	}
	return "the supervisor runs", nil
}

// StopAgent stops the agent and waits until its decommission is over.
func (a *Agent) StopAgent(ctx context.Context) (string, error) {
	if yes, facts := a.systemdRuns(); yes {
		m, err := a.hooks(facts)
		if err != nil {
			return "", err
		}
		return "systemd stopped rightlink.service", m.StopAgent(ctx)
	}
	stopped, err := supervise.Stop(ctx, a.Root)
	if err != nil {
		return "", err
	}
	if !stopped {
		return "the supervisor was not running", nil
	}
	return "the supervisor and the agent have ended", nil
}

// Supervise is the supervisor itself: it enrols and keeps the agent alive until
// ctx ends. On a dormant machine it ends at once.
func (a *Agent) Supervise(ctx context.Context, output io.Writer) error {
	args := []string{a.path(packages.LinkBin)}
	if filepath.Clean(a.Root) != "/" {
		args = append(args, "--root", a.Root)
	}
	err := supervise.Run(ctx, supervise.Options{
		Root: a.Root, Argv: append(args, "run"), Log: a.Log, Output: output,
		Before: func(ctx context.Context) error {
			out, err := a.Do(ctx, "rightlink")
			if err == nil && out.Result == status.Dormant {
				return supervise.ErrDone
			}
			return err
		},
	})
	if errors.Is(err, supervise.ErrRunning) {
		return nil
	}
	if errors.Is(err, supervise.ErrGivenUp) {
		return errors.Join(err, a.end("rightlink", Outcome{Result: status.Failed, Detail: oneLine(err)}))
	}
	return err
}

// Refresh renews the cache of user-data and metadata, and nothing else.
func (a *Agent) Refresh(ctx context.Context) (string, error) {
	facts, _ := detect.Detect(a.Root)                             // the cloud is known on an unknown system too
	c, err := cloud.New(facts.Cloud, cloud.Options{Root: a.Root}) // and nothing of what is known already
	if err != nil {
		return "", err
	}
	changed, err := spool.Refresh(ctx, a.Root, c)
	if err != nil {
		return "", err
	}
	if !changed {
		return "/var/spool/cloud is up to date", nil
	}
	return "/var/spool/cloud renewed", nil
}

// Background runs a command in a process of its own, such as a stage, so that
// the boot goes on.
func (a *Agent) Background(self string, args ...string) error {
	if _, err := supervise.Detach(a.argv(self, args...)); err != nil {
		return fmt.Errorf("start %s in the background: %w", args[0], err)
	}
	return nil
}
