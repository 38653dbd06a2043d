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
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/mirrors"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
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
	if err := a.unmark(); err != nil {
		return Outcome{}, err
	}
	if id, err := c.InstanceID(ctx); err == nil {
		a.setInstance(id)
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

// facts detects the machine; end notes what was found.
func (a *Agent) facts() (detect.Facts, error) {
	facts, err := detect.Detect(a.Root)
	a.found = &facts
	return facts, err
}

// install puts the wanted version in, if it is not there. A version that cannot
// be had does not keep an instance from the one that it has.
func (a *Agent) install(ctx context.Context, facts detect.Facts, s userdata.Settings) (Outcome, error) {
	o := a.obtainer(facts, s)
	have, err := o.m.Installed(ctx)
	if err != nil {
		return Outcome{}, err
	}
	want, err := o.m.Wanted(s.Version)
	if errors.Is(err, packages.ErrNoVersion) && have != "" {
		want, err = have, nil // preinstalled, and nobody asks for another one
	}
	if err != nil {
		return Outcome{}, err
	}
	if have == want && s.Src == "" {
		return Outcome{Result: status.OK, Detail: "RightLink " + have + " was installed already"}, nil
	}
	p, err := o.find(ctx, want)
	switch {
	case err != nil && have != "":
		a.Log.Warn("the wanted RightLink cannot be had", "wanted", want, "stays", have, "error", err)
		return Outcome{Result: status.OK, Detail: "RightLink " + have + " stays: " + oneLine(err)}, nil
	case err != nil:
		return Outcome{}, err
	case p.version == have && s.Src == "":
		return Outcome{Result: status.OK, Detail: "RightLink " + have + " was installed already"}, nil
	}
	a.Log.Info("installing RightLink", "version", p.version, "package", p.Path)
	if err := retry(ctx, func() error { return o.m.Install(ctx, p.Package, p.version) }); err != nil {
		return Outcome{}, fmt.Errorf("install RightLink %s: %w", p.version, err)
	}
	return Outcome{Result: status.OK, Detail: "RightLink " + p.version + " installed", Changed: []string{"RightLink " + p.version + " from " + p.Path}}, nil
}

// find gets the package of a version or channel, or the one that RS_src names.
func (o *obtainer) find(ctx context.Context, want string) (p obtained, err error) {
	ctx, cancel := context.WithTimeout(ctx, obtainTime)
	defer cancel()
	err = retry(ctx, func() error {
		if o.settings.Src != "" {
			p, err = o.developer(ctx, o.settings.Src)
			return err
		}
		v, err := o.version(ctx, want)
		if err != nil {
			if v = o.m.Newest(); v == "" {
				return err
			}
			o.a.Log.Warn("the newest version of the cache is taken instead", "version", v, "error", err)
		}
		p, err = o.get(ctx, v)
		return err
	})
	return p, err
}

// retry tries a few times, unless the error says that trying is of no use.
func retry(ctx context.Context, op func() error) error {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier = 5*time.Second, 3
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := op()
		if ctx.Err() == nil {
			last = err
		}
		for _, useless := range []error{packages.ErrChecksum, packages.ErrTarball, packages.ErrNoPackage, mirrors.ErrNone, mirrors.ErrUntrusted, fetch.ErrSpace, trust.ErrRoot} {
			if errors.Is(err, useless) {
				err = backoff.Permanent(err)
				break
			}
		}
		return struct{}{}, err
	}, backoff.WithBackOff(b), backoff.WithMaxTries(installTries), backoff.WithMaxElapsedTime(0))
	if err != nil && last != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", last, context.Cause(ctx)) // why it was tried again says more
	}
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
