// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/early"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/instance"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/key"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/spool"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

func (a *Agent) early(ctx context.Context) (Outcome, error) {
	res, err := early.Run(ctx, early.Options{Root: a.Root, Run: a.Run, Log: a.Log})
	out := Outcome{Result: status.OK, Detail: strings.Join(res.Notes, "; "), Changed: res.Changed}
	if res.Skipped != "" {
		out.Result, out.Detail = status.Skipped, res.Skipped
	}
	return out, err
}

func (a *Agent) key(ctx context.Context) (Outcome, error) {
	c, err := a.theCloud()
	if err != nil {
		return Outcome{}, err
	}
	res, err := key.Install(ctx, a.Root, c)
	out := Outcome{Result: status.OK, Changed: res.Changed}
	if res.Skipped != "" {
		out.Result, out.Detail = status.Skipped, res.Skipped
	}
	if err != nil {
		return out, err
	}
	if res.InstanceID != "" {
		a.setInstance(res.InstanceID)
	}
	return out, a.foretell(ctx, c)
}

// setInstance keys the status file by the instance; end writes it.
func (a *Agent) setInstance(id string) { a.instance = id }

// rightboot learns who this instance is. Its identity matters before anything
// is done in its name, so not knowing it is a failure, except where there is
// no identity that could be taken for another's.
func (a *Agent) rightboot(ctx context.Context) (Outcome, error) {
	c, err := a.theCloud()
	if err != nil {
		return Outcome{}, err
	}
	id, err := c.InstanceID(ctx)
	if err != nil {
		_, statErr := os.Stat(a.path(userdata.IdentityPath))
		if errors.Is(err, cloud.ErrDenied) && errors.Is(statErr, os.ErrNotExist) {
			return Outcome{Result: status.Dormant, Detail: "the metadata service is switched off"}, nil
		}
		return Outcome{}, fmt.Errorf("read instance id: %w", err)
	}
	kind, err := instance.Check(a.Root, id)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Result: status.OK, Detail: string(kind)}
	if kind == instance.Cloned {
		out.Changed = []string{"identity, state and caches of another instance removed"}
		if _, err := a.hosts(""); err != nil {
			return out, err
		}
	}
	a.setInstance(id)
	return out, nil
}

// rightscale caches what the launch says. The identity is written last: the
// agent starts when it is there.
func (a *Agent) rightscale(ctx context.Context) (Outcome, error) {
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
		changed, err := a.proxy(userdata.Settings{})
		return Outcome{Result: status.Dormant, Detail: dormantDetail(data), Changed: changed}, err
	}
	var changed []string
	filled, spooled, err := a.fillSpool(ctx, c, data)
	if err != nil {
		return Outcome{}, err
	}
	if spooled {
		changed = append(changed, "/var/spool/cloud")
	}
	for _, step := range []func() ([]string, error){
		func() ([]string, error) { return a.legacySpool(c.Name()) },
		func() ([]string, error) { return a.hostname(filled.Name, filled.Address) },
		func() ([]string, error) { return a.proxy(settings) },
		func() ([]string, error) { return a.identity(settings) },
	} {
		more, err := step()
		changed = append(changed, more...)
		if err != nil {
			return Outcome{Changed: changed}, err
		}
	}
	changed = append(changed, a.bootUpgrade(ctx, settings)...)
	return Outcome{Result: status.OK, Detail: "platform " + settings.APIHostname, Changed: changed}, nil
}

// launchData reads the launch's user-data. That there is none, or that the
// metadata service is switched off, is an answer.
func launchData(ctx context.Context, c cloud.Cloud) (userdata.Data, error) {
	raw, err := c.UserData(ctx)
	if err != nil && !errors.Is(err, cloud.ErrAbsent) && !errors.Is(err, cloud.ErrDenied) {
		return userdata.Data{}, fmt.Errorf("read user-data: %w", err)
	}
	return userdata.Parse(raw), nil
}

func dormantDetail(d userdata.Data) string {
	if problems := d.Incomplete(); len(problems) > 0 {
		return "platform settings in user-data are incomplete: " + strings.Join(problems, ", ")
	}
	return "no platform settings in user-data"
}

func (a *Agent) identity(s userdata.Settings) ([]string, error) {
	path := a.path(userdata.IdentityPath)
	want := s.Identity()
	if have, err := os.ReadFile(path); err == nil && string(have) == string(want) {
		return nil, os.Chmod(path, 0o600)
	}
	return []string{userdata.IdentityPath}, atomicfile.WriteMkdir(path, want, 0o600, 0o755)
}

// legacySpool makes the old name of the spool, which scripts still use, unless
// something has that name.
func (a *Agent) legacySpool(cloudName string) ([]string, error) {
	path := a.path("var/spool", cloudName)
	if cloudName == "none" || cloudName == "rackspace" {
		return nil, nil // its folder holds the operator's input files
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return []string{"/var/spool/" + cloudName}, os.Symlink(filepath.Base(spool.Dir(a.Root)), path)
}

// EnrolTime is what one attempt to enrol may take; the supervisor tries again.
const EnrolTime = 10 * time.Minute

// rightlink enrols. Whether the agent runs is the supervisor's matter.
func (a *Agent) rightlink(ctx context.Context) (Outcome, error) {
	if _, err := os.Stat(a.path(userdata.IdentityPath)); errors.Is(err, os.ErrNotExist) {
		return Outcome{Result: status.Dormant, Detail: "no identity: launched without platform settings"}, nil
	}
	program := a.path(packages.LinkBin)
	if _, err := os.Stat(program); err != nil {
		return Outcome{}, fmt.Errorf("RightLink is not installed: %w; run \"bootstrap rightimage\"", err)
	}
	var args []string
	if filepath.Clean(a.Root) != "/" {
		args = []string{"--root", a.Root}
	}
	limit := cmp.Or(a.EnrolTime, EnrolTime)
	if _, err := a.stream().Run(ctx, program, append(args, "enroll", "--timeout", limit.String())...); err != nil {
		return Outcome{}, lastWords(err)
	}
	return Outcome{Result: status.OK, Detail: "enrolled"}, nil
}

// lastWords is the failure of a program that logs what it tries, and says in its
// last line why it gave up.
func lastWords(err error) error {
	var failed *run.Error
	if !errors.As(err, &failed) {
		return err
	}
	lines := strings.Split(strings.TrimSpace(failed.Stderr), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("%s (%w)", last, failed.Err)
	}
	return err
}
