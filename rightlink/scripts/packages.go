// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
)

// Installer installs packages with the native package manager.
type Installer struct {
	Run   run.Runner
	Clock clock.Clock
	// Look finds a program; exec.LookPath outside of tests.
	Look func(string) (string, error)
}

// NewInstaller returns an Installer that asks no questions.
func NewInstaller(c clock.Clock) Installer {
	return Installer{Run: run.Exec{Env: []string{"DEBIAN_FRONTEND=noninteractive"}}, Clock: c, Look: exec.LookPath}
}

// manager is a native package manager; names go after the arguments.
type manager struct {
	program string
	present []string // tells without network that the packages are installed
	install []string
	refresh []string // before the second try
}

func managers() []manager {
	return []manager{
		{"apt-get", nil, []string{"apt-get", "-q", "-y", "--no-install-recommends", "install", "--"}, []string{"apt-get", "-q", "update"}},
		{"dnf", []string{"rpm", "-q", "--"}, []string{"dnf", "-q", "-y", "install", "--"}, []string{"dnf", "-q", "makecache"}},
		{"yum", []string{"rpm", "-q", "--"}, []string{"yum", "-q", "-y", "install", "--"}, []string{"yum", "-q", "makecache"}},
		{"zypper", []string{"rpm", "-q", "--"}, []string{"zypper", "-n", "-q", "install", "--"}, []string{"zypper", "-n", "-q", "refresh"}},
		{"apk", []string{"apk", "info", "-e", "--"}, []string{"apk", "-q", "add", "--"}, []string{"apk", "-q", "update"}},
	}
}

// Tries and pause of an installation.
const (
	installTries = 3
	installPause = 10 * time.Second
)

// ErrNoPackageManager says that packages are wanted where none is known.
var ErrNoPackageManager = errors.New("no package manager that RightLink knows (apt-get, dnf, yum, zypper, apk)")

var packageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_~:=-]*$`)

// Install installs what is not there yet, in up to three tries.
func (i Installer) Install(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, name := range names {
		if !packageName.MatchString(name) {
			return fmt.Errorf("install packages: %q is not the name of a package", name)
		}
	}
	m, ok := i.find()
	if !ok {
		return fmt.Errorf("install packages %s: %w", strings.Join(names, " "), ErrNoPackageManager)
	}
	if missing := i.missing(ctx, m, names); len(missing) > 0 {
		return i.tries(ctx, m, missing)
	}
	return nil
}

func (i Installer) find() (manager, bool) {
	for _, m := range managers() {
		if _, err := i.Look(m.program); err == nil {
			return m, true
		}
	}
	return manager{}, false
}

func (i Installer) missing(ctx context.Context, m manager, names []string) []string {
	var missing []string
	for _, name := range names {
		if m.program == "apt-get" {
			status, err := i.Run.Run(ctx, "dpkg-query", "-W", "-f", "${db:Status-Status}", "--", name)
			if err != nil || status != "installed" {
				missing = append(missing, name)
			}
			continue
		}
		if _, err := i.call(ctx, m.present, name); err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

func (i Installer) tries(ctx context.Context, m manager, names []string) error {
	var err error
	for n := range installTries {
		if n > 0 {
			if serr := i.Clock.Sleep(ctx, installPause); serr != nil {
				return errors.Join(err, serr)
			}
			// An old index is the usual reason; a failure shows in the next try.
			_, _ = i.call(ctx, m.refresh)
		}
		if _, err = i.call(ctx, m.install, names...); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("install packages %s: %w", strings.Join(names, " "), err)
}

func (i Installer) call(ctx context.Context, argv []string, more ...string) (string, error) {
	args := append(append([]string{}, argv[1:]...), more...)
	return i.Run.Run(ctx, argv[0], args...)
}
