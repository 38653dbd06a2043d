// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// installTries bounds the attempts within one boot; the next boot tries again.
const installTries = 3

// rightimage decides first if the launch wants a platform at all: a machine
// without it sees no package, no name server and no init tool. It stays
// registered until it has succeeded.
func (a *Agent) rightimage(ctx context.Context) (Outcome, error) {
	c, err := a.theCloud()
	if err != nil {
		return Outcome{}, err
	}
	data, err := launchData(ctx, c)
	if err != nil {
		return Outcome{}, err
	}
	settings, ok := data.Settings()
	if !ok {
		return Outcome{Result: status.Dormant, Detail: dormantDetail(data)}, nil
	}
	if id, err := c.InstanceID(ctx); err == nil {
		if err := a.setInstance(id); err != nil {
			return Outcome{}, err
		}
	}
	facts, err := a.facts()
	if err != nil {
		return Outcome{}, err
	}
	out, err := a.install(ctx, facts, settings)
	if err != nil {
		return out, err
	}
	return out, a.handOver(ctx, facts, &out)
}

// facts detects the machine and notes what was found.
func (a *Agent) facts() (detect.Facts, error) {
	facts, err := detect.Detect(a.Root)
	noted := status.Update(a.Root, func(st *status.Status) error {
		st.Facts = &facts
		return nil
	})
	return facts, errors.Join(err, noted)
}

// install puts the wanted version in, if it is not there.
func (a *Agent) install(ctx context.Context, facts detect.Facts, s userdata.Settings) (Outcome, error) {
	m := a.packages(facts)
	have, err := m.Installed(ctx)
	if err != nil {
		return Outcome{}, err
	}
	want, err := m.Wanted(s.Version)
	if errors.Is(err, packages.ErrNoVersion) && have != "" {
		want, err = have, nil // preinstalled, and nobody asks for another one
	}
	if err != nil {
		return Outcome{}, err
	}
	if have == want {
		return Outcome{Result: status.OK, Detail: "RightLink " + have + " was installed already"}, nil
	}
	p, err := m.Choose(want)
	if err != nil {
		return Outcome{}, err
	}
	a.Log.Info("installing RightLink", "version", want, "package", p.Path)
	if err := retry(ctx, func() error { return m.Install(ctx, p, want) }); err != nil {
		return Outcome{}, fmt.Errorf("install RightLink %s: %w", want, err)
	}
	return Outcome{Result: status.OK, Detail: "RightLink " + want + " installed", Changed: []string{"RightLink " + want + " from " + p.Path}}, nil
}

// retry tries a few times, unless the error says that trying is of no use.
func retry(ctx context.Context, op func() error) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier = 5*time.Second, 3
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if errors.Is(err, packages.ErrChecksum) || errors.Is(err, packages.ErrTarball) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(b), backoff.WithMaxTries(installTries), backoff.WithMaxElapsedTime(0))
	return err
}

// handOver registers stages 2 to 4 for future boots, takes this stage out of
// them, and starts 2 to 4 now. A kill before the end is repaired by the next
// boot, whichever of the hooks it starts.
func (a *Agent) handOver(ctx context.Context, facts detect.Facts, out *Outcome) error {
	m, err := a.hooks(facts)
	if err != nil {
		return err
	}
	if err := a.packages(facts).RunPostInstall(ctx); err != nil {
		a.Log.Warn("post_install.sh", "error", err) // what it does is done below once more
	}
	changed, missing, err := m.RegisterAgent(ctx)
	out.Changed = append(out.Changed, changed...)
	if err != nil {
		return fmt.Errorf("register for future boots: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("boot hooks are missing: %s; run \"bootstrap register --image\"", strings.Join(missing, ", "))
	}
	changed, err = m.Deregister(ctx, hooks.Image)
	out.Changed = append(out.Changed, changed...)
	if err != nil {
		return fmt.Errorf("de-register hook %s: %w", hooks.Image, err)
	}
	if err := m.StartAgent(ctx); err != nil {
		return fmt.Errorf("start RightLink: %w", err)
	}
	return nil
}
