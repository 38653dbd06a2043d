// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package upgrade replaces the running agent by another version, or patches it,
// so that a bad one, or a power cut at any moment, leaves the machine with an
// agent that works: the old files are kept beside, the new agent is on trial
// until it has shown that it is healthy, and what fails is undone.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Limits of a trial.
const (
	// DefaultBound is how long a new agent may take until it is healthy.
	DefaultBound = 5 * time.Minute
	// DefaultSettle is how long it must stay healthy, as the same process.
	DefaultSettle = 15 * time.Second
	// maxBoots is how many boots a trial may last: one that a power cut ended
	// counts.
	maxBoots = 3
	// maxBroken is how many looks in a row have to find the agent broken.
	maxBroken = 5
	// undoTime bounds what the package manager may take: at boot the agent waits.
	undoTime = 2 * time.Minute
	// refusedFor is how long what failed is not tried again unless asked for.
	refusedFor = 7 * 24 * time.Hour
)

// Errors of this package.
var (
	// ErrRolledBack means that the new agent did not work and the old one is back.
	ErrRolledBack = errors.New("rolled back")
	// ErrBroken is what Healthy wraps when waiting longer is of no use: the
	// program itself does not work, or ended several times.
	ErrBroken = errors.New("the agent is broken")
	// ErrRefused means that the version failed here a short while ago.
	ErrRefused = errors.New("it failed on this machine before; name it with --version to try again")
)

// Service is the agent as the supervisor knows it.
type Service interface {
	// Restart replaces the running agent; nothing is decommissioned. It does not
	// wait for the new one.
	Restart(ctx context.Context) error
	// Healthy returns the agent's process id, or why it does not work.
	Healthy(ctx context.Context) (pid int, err error)
}

// Change is what an upgrade does.
type Change struct {
	From, To Label
	// Apply puts the new files in. It may be killed anywhere.
	Apply func(ctx context.Context) error
}

// Upgrader upgrades the agent below Root.
type Upgrader struct {
	Root    string
	Log     *slog.Logger
	Service Service
	// Undo makes the package manager see the old version again, once the old
	// files are back; nil for nothing.
	Undo func(ctx context.Context, old Label) error
	// BootID is the id of this boot.
	BootID string

	// Bound, Settle and Clock are for tests; zero means the real ones.
	Bound, Settle time.Duration
	Clock         wait.Clock
}

// Do makes one change of a running agent: it ends with a new agent that works,
// or with the old one and ErrRolledBack.
func (u *Upgrader) Do(ctx context.Context, c Change) error {
	old, _ := u.Service.Healthy(ctx) // whether it was well does not matter
	if err := u.Begin(ctx, c); err != nil {
		return err
	}
	if err := u.setOld(old); err != nil {
		return err
	}
	if err := u.Service.Restart(ctx); err != nil {
		return u.back(ctx, fmt.Errorf("start the new agent: %w", err))
	}
	return u.Judge(ctx)
}

// Begin puts the new files in and leaves them on trial, for an agent that does
// not run yet. Judge has to follow.
func (u *Upgrader) Begin(ctx context.Context, c Change) error {
	j, err := u.Load()
	if err != nil {
		return err
	}
	if j.Phase != Settled {
		return fmt.Errorf("an upgrade to %s is not over (%s)", j.To, j.Phase)
	}
	if err := u.keep(c.From); err != nil {
		return fmt.Errorf("keep the old agent: %w", err)
	}
	j.Phase, j.From, j.To, j.Since, j.Why = Applying, c.From, c.To, now(), ""
	if err := u.save(j); err != nil {
		return err
	}
	u.Log.Info("upgrading RightLink", "from", c.From.String(), "to", c.To.String())
	if err := c.Apply(ctx); err != nil {
		return u.back(ctx, fmt.Errorf("put in %s: %w", c.To, err))
	}
	j.Phase, j.Boots, j.Boot = Trial, 0, u.BootID
	return u.save(j)
}

// Judge watches the agent on trial: it becomes healthy and stays so, or the old
// one comes back. Without a trial there is nothing to judge.
func (u *Upgrader) Judge(ctx context.Context) error {
	j, err := u.Load()
	if err != nil || j.Phase != Trial {
		return err
	}
	old := j.Old
	if j.Boot != u.BootID {
		old = 0 // its number may be anybody's by now
	}
	if err := u.watch(ctx, old); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx) // shutting down: the next boot judges
		}
		return u.back(ctx, err)
	}
	return u.confirm(j)
}

// setOld notes the process that a restart replaces.
func (u *Upgrader) setOld(pid int) error {
	j, err := u.Load()
	if err != nil {
		return err
	}
	j.Old = pid
	return u.save(j)
}

// watch returns nil once the same process, not the old one, was healthy for the
// settle time.
func (u *Upgrader) watch(ctx context.Context, old int) error {
	const delay = time.Second
	bound, settle := u.Bound, u.Settle
	if bound == 0 {
		bound = DefaultBound
	}
	if settle == 0 {
		settle = DefaultSettle
	}
	last, why := 0, error(nil)
	streak, broken := 0, 0
	w := wait.Waiter{Delay: delay, Deadline: bound, Clock: u.Clock}
	err := w.Until(ctx, "a healthy agent", func(ctx context.Context) (bool, error) {
		pid, err := u.Service.Healthy(ctx)
		if err == nil && old != 0 && pid == old {
			err = errors.New("the old agent has not ended")
		}
		if broken++; !errors.Is(err, ErrBroken) {
			broken = 0
		}
		if broken >= maxBroken {
			return false, err
		}
		if why = err; err != nil || pid != last {
			last, streak = pid, 0
			return false, nil //nolint:nilerr // it is told when the time is over
		}
		streak++
		return time.Duration(streak)*delay >= settle, nil
	})
	if err != nil && why != nil && !errors.Is(err, ErrBroken) {
		return fmt.Errorf("%w: %w", err, why)
	}
	return err
}

func (u *Upgrader) confirm(j Journal) error {
	j.Patched, j.Digest = Label{}, ""
	if j.To.Patch > 0 {
		j.Patched, j.Digest = j.To, u.digest()
	}
	j.Last = fmt.Sprintf("%s: %s works (before: %s)", now().Format(time.RFC3339), j.To, j.From)
	delete(j.Refused, j.To.String())
	j.Phase, j.Boots, j.Boot, j.Old = Settled, 0, "", 0
	if err := u.save(j); err != nil {
		return err
	}
	u.Log.Info("RightLink upgraded", "from", j.From.String(), "to", j.To.String())
	u.prune(j.From)
	return nil
}

// back undoes a change and starts the old agent again.
func (u *Upgrader) back(ctx context.Context, why error) error {
	// Undoing is not broken off with what asked for the upgrade.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	u.Log.Error("the new RightLink does not work, going back", "error", why)
	j, err := u.Load()
	if err != nil {
		return errors.Join(why, err)
	}
	j.Phase, j.Why = Undoing, why.Error()
	if err := u.save(j); err != nil {
		return errors.Join(why, err)
	}
	if err := u.undo(ctx); err != nil {
		return errors.Join(why, err)
	}
	if err := u.Service.Restart(ctx); err != nil {
		return fmt.Errorf("%w to %s, but it does not start: %w (%w)", ErrRolledBack, j.From, err, why)
	}
	return fmt.Errorf("%w to %s: %w", ErrRolledBack, j.From, why)
}

// undo brings the old files back, whatever was done before it was called.
func (u *Upgrader) undo(ctx context.Context) error {
	j, err := u.Load()
	if err != nil || j.Phase == Settled {
		return err
	}
	if err := u.restore(j.From); err != nil {
		return fmt.Errorf("bring back RightLink %s: %w", j.From, err)
	}
	if u.Undo != nil && j.To.Version != j.From.Version {
		bounded, cancel := context.WithTimeout(ctx, undoTime)
		defer cancel()
		err := u.Undo(bounded, j.From)
		if err != nil {
			u.Log.Warn("the package manager still knows the new version", "error", err)
		}
		// A package brings its own files, without patches.
		if err := u.restore(j.From); err != nil {
			return fmt.Errorf("bring back RightLink %s: %w", j.From, err)
		}
	}
	if j.Refused == nil {
		j.Refused = map[string]time.Time{}
	}
	j.Refused[j.To.String()] = now()
	j.Last = fmt.Sprintf("%s: went back from %s to %s: %s", now().Format(time.RFC3339), j.To, j.From, j.Why)
	j.Phase, j.Boots, j.Boot, j.Old = Settled, 0, "", 0
	return u.save(j)
}

// Recover ends what an earlier process left unfinished, before the agent is
// started at boot. It returns true when a trial goes on that has to be judged.
func (u *Upgrader) Recover(ctx context.Context) (trial bool, err error) {
	j, err := u.Load()
	if err != nil || j.Phase == Settled {
		return false, err
	}
	if j.Phase == Trial {
		if j.Boot != u.BootID {
			j.Boots, j.Boot = j.Boots+1, u.BootID
		}
		if j.Boots < maxBoots {
			return true, u.save(j)
		}
		j.Why = fmt.Sprintf("not healthy in %d boots", j.Boots)
	} else if j.Why == "" {
		j.Why = "interrupted while files were replaced"
	}
	j.Phase = Undoing
	if err := u.save(j); err != nil {
		return false, err
	}
	u.Log.Warn("an upgrade was not finished, going back", "from", j.To.String(), "to", j.From.String(), "why", j.Why)
	return false, u.undo(ctx)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// folder is where a version's files are kept.
func (u *Upgrader) folder(l Label) string {
	return filepath.Join(u.Root, Kept, strings.ReplaceAll(l.String(), "/", "_"))
}
