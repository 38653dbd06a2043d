// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/instance"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/mirrors"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/upgrade"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

// Limits of upgrades at boot: a mirror that is slow must not hold the agent.
const (
	bootUpgradeTime = 3 * time.Minute
	// bootTrial is how long the agent may take at boot, enrolment included.
	bootTrial = 16 * time.Minute
)

// UpgradeOptions say what Upgrade does.
type UpgradeOptions struct {
	// Version or channel that is asked for; empty for what user-data or the image
	// wants, and patches.
	Version string
	// Check only says what would be done.
	Check bool
	// Judge only ends a trial that a boot has begun.
	Judge bool
}

// Upgrade brings the running agent to a version, or patches it, and returns one
// line about it. An agent that does not work afterwards is replaced by the old
// one.
func (a *Agent) Upgrade(ctx context.Context, o UpgradeOptions) (string, error) {
	unlock, err := a.lock(ctx, "upgrade")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(a.path(userdata.IdentityPath)); err != nil {
		return "dormant: there is no agent to upgrade", nil
	}
	facts, _ := detect.Detect(a.Root) // what is installed says more than what is detected
	find := a.obtainer(facts, a.spooledSettings())
	u := a.upgrader(find, facts)
	trial, err := a.recoverUpgrade(ctx, u)
	if err != nil {
		return "", err
	}
	if trial {
		u.Bound = bootTrial
		err := u.Judge(ctx)
		u.Bound = 0
		if err != nil || o.Judge {
			return a.lastUpgrade(u), err
		}
	}
	if o.Judge {
		return "nothing is on trial", nil
	}
	change, detail, err := find.change(ctx, u, o.Version)
	switch {
	case err != nil || change == nil:
		return detail, err
	case o.Check:
		return fmt.Sprintf("RightLink %s can be upgraded to %s", change.From, change.To), nil
	}
	return detail, errors.Join(u.Do(ctx, *change), u.SetWanted(find.settings.Version))
}

// recoverUpgrade ends what an earlier process left unfinished. When that brought
// the old files back while the new agent may run, the agent is restarted.
func (a *Agent) recoverUpgrade(ctx context.Context, u *upgrade.Upgrader) (trial bool, err error) {
	before, err := u.Load()
	if err != nil {
		return false, err
	}
	trial, err = u.Recover(ctx)
	if err != nil || trial || before.Phase == upgrade.Settled || before.Phase == upgrade.Applying {
		return trial, err
	}
	return false, u.Service.Restart(ctx)
}

func (a *Agent) lastUpgrade(u *upgrade.Upgrader) string {
	j, err := u.Load()
	if err != nil {
		return ""
	}
	return j.Last
}

// bootUpgrade ends what an earlier boot left unfinished and puts patches and
// wanted versions in before the agent starts. The boot goes on whatever happens.
func (a *Agent) bootUpgrade(ctx context.Context, s userdata.Settings) []string {
	ctx, cancel := context.WithTimeout(ctx, bootUpgradeTime)
	defer cancel()
	facts, _ := detect.Detect(a.Root) // see Upgrade
	find := a.obtainer(facts, s)
	if _, err := os.Stat(a.path(packages.LinkBin)); err != nil {
		return nil // stage rightimage has not been
	}
	u := a.upgrader(find, facts)
	trial, err := u.Recover(ctx)
	if err != nil {
		a.Log.Error("an upgrade that was not finished", "error", err)
		return nil
	}
	var changed []string
	if !trial {
		change, detail, err := find.change(ctx, u, "")
		switch {
		case err != nil:
			a.Log.Warn("upgrade at boot", "error", err)
		case change != nil:
			if err := errors.Join(u.Begin(ctx, *change), u.SetWanted(s.Version)); err != nil {
				a.Log.Error("upgrade at boot", "error", err)
				return nil
			}
			trial, changed = true, []string{detail}
		default:
			_ = u.SetWanted(s.Version) // what it says is in place
		}
	}
	if trial {
		if _, err := supervise.Detach(a.argv(a.path(program), "upgrade", "--judge")); err != nil {
			a.Log.Warn("nobody watches the new agent in this boot", "error", err)
		}
	}
	return changed
}

// spooledSettings are those of this launch, as stage rightscale cached them.
func (a *Agent) spooledSettings() userdata.Settings {
	raw, err := os.ReadFile(a.path("var/spool/cloud/user-data.raw"))
	if err != nil {
		return userdata.Settings{}
	}
	s, _ := userdata.Parse(raw).Settings()
	return s
}

func (a *Agent) upgrader(find *obtainer, facts detect.Facts) *upgrade.Upgrader {
	return &upgrade.Upgrader{
		Root: a.Root, Log: a.Log, BootID: instance.BootID(a.Root), Clock: a.TrialClock,
		Service: service{a: a, systemd: facts.Init == detect.Systemd && facts.InitRunning},
		Undo: func(ctx context.Context, old upgrade.Label) error {
			p, err := find.m.Choose(old.Version)
			if err != nil {
				return err
			}
			return find.m.Install(ctx, p, old.Version)
		},
	}
}

// change decides what is to be done; nil when nothing is.
func (o *obtainer) change(ctx context.Context, u *upgrade.Upgrader, asked string) (*upgrade.Change, string, error) {
	j, err := u.Load()
	if err != nil {
		return nil, "", err
	}
	have, err := o.m.Installed(ctx)
	if err != nil || have == "" {
		return nil, "", errors.Join(err, errors.New("RightLink is not installed; run \"bootstrap rightimage\""))
	}
	from := upgrade.Label{Version: have, Patch: u.Level(j, have)}
	version, err := o.version(ctx, o.wish(asked, have, j))
	if err != nil {
		return nil, "", err
	}
	var c *upgrade.Change
	if version != have {
		c, err = o.toVersion(ctx, from, version, asked != "", j)
	} else {
		c, err = o.toPatch(ctx, from, asked != "", j)
	}
	switch {
	case err != nil:
		return nil, "", err
	case c == nil:
		return nil, "RightLink " + from.String() + " is up to date", nil
	}
	return c, fmt.Sprintf("RightLink %s upgraded to %s", from, c.To), nil
}

// wish is the version or channel that the machine is to have: what was asked
// for; a channel or a new version in user-data; a channel of the image; else
// what it has. A version in user-data counts once: who upgrades the instance by
// hand afterwards is not undone by the next boot.
func (o *obtainer) wish(asked, have string, j upgrade.Journal) string {
	if asked != "" {
		return asked
	}
	if o.settings.Src != "" {
		return have // a developer's build is not replaced
	}
	if v := o.settings.Version; v != "" {
		if pkgname.IsChannel(v) || v != j.Wanted {
			return v
		}
		return have
	}
	if v, err := o.m.Wanted(""); err == nil && pkgname.IsChannel(v) {
		return v
	}
	return have
}

// toVersion gets the package, and the one of the running version, before
// anything is changed: without it there is no way back.
func (o *obtainer) toVersion(ctx context.Context, from upgrade.Label, version string, asked bool, j upgrade.Journal) (*upgrade.Change, error) {
	to := upgrade.Label{Version: version}
	if !asked && j.IsRefused(to) {
		return nil, fmt.Errorf("RightLink %s: %w", to, upgrade.ErrRefused)
	}
	p, err := o.get(ctx, version)
	if err != nil {
		return nil, err
	}
	if _, err := o.get(ctx, from.Version); err != nil {
		if !asked {
			return nil, fmt.Errorf("the package of the running version %s, to go back to: %w", from.Version, err)
		}
		o.a.Log.Warn("the package of the running version cannot be had; only its files can be brought back", "version", from.Version, "error", err)
	}
	return &upgrade.Change{From: from, To: to, Apply: func(ctx context.Context) error {
		return o.m.Install(ctx, p.Package, p.version)
	}}, nil
}

// toPatch finds a higher patch of the running version; nil when there is none,
// or no mirror.
func (o *obtainer) toPatch(ctx context.Context, from upgrade.Label, asked bool, j upgrade.Journal) (*upgrade.Change, error) {
	cat, err := o.catalogue(ctx)
	if errors.Is(err, mirrors.ErrNone) {
		return nil, nil //nolint:nilnil // nothing to do
	}
	if err != nil {
		return nil, err
	}
	f, ok := cat.Patch(from.Version, o.m.Facts.Arch)
	if !ok || f.Patch <= from.Patch {
		return nil, nil //nolint:nilnil // nothing to do
	}
	to := upgrade.Label{Version: from.Version, Patch: f.Patch}
	if !asked && j.IsRefused(to) {
		return nil, fmt.Errorf("RightLink %s: %w", to, upgrade.ErrRefused)
	}
	p, err := o.fetch(ctx, f, pkgname.Patch)
	if err != nil {
		return nil, err
	}
	return &upgrade.Change{From: from, To: to, Apply: func(context.Context) error { return o.m.ApplyPatch(p.Path) }}, nil
}
