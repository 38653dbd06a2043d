// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/upgrade"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/mirrorconf"
)

// ErrPackage means that RightLink's package is still installed.
var ErrPackage = errors.New("the package rightlink is still installed")

// ownFiles are removed by name: other files beside them stay, with their folder.
func ownFiles() []string {
	return []string{
		"/etc/rightscale.d/right_link/features.yml",
		"/etc/rightscale.d/cloud",
		"/etc/rightscale.d/rightscale-release",
		"/etc/rightscale.d/rightimage-release.js",
		"/etc/rightscale.d/ca.pem",
		"/etc/rightscale.d/login-user",
		userdata.IdentityPath,
		"/var/spool/rightscale/user-data.txt", // what connected a running machine
	}
}

// ownTrees are ours as a whole.
func ownTrees() []string {
	return []string{
		packages.CacheDir, mirrorconf.Dir, upgrade.Kept, "/var/lib/rightscale", "/var/spool/cloud", "/var/spool/rightlink",
		"/run/rightlink", "/run/rightimage",
	}
}

// ownFolders go if they are empty then.
func ownFolders() []string {
	return []string{"/var/spool/rightscale", "/etc/rightscale.d/right_link", "/etc/rightscale.d", "/opt/rightscale/bin", "/opt/rightscale"}
}

// program is removed last, so that an uninstall that was killed can be run again.
const program = "/opt/rightscale/bin/bootstrap"

// Uninstall takes everything out that belongs to the toolkit and returns what it
// removed. Host keys, login keys and the grown root stay: they are the
// machine's. With purge the package goes first.
func (a *Agent) Uninstall(ctx context.Context, purge bool) ([]string, error) {
	facts, _ := detect.Detect(a.Root) // an unknown system is uninstalled from as well
	pkg := a.packages(facts)
	if !purge && pkg.Present(ctx) {
		return nil, fmt.Errorf("%w; remove it first with \"dpkg --purge rightlink\", or use \"bootstrap uninstall --purge\"", ErrPackage)
	}
	m, err := a.hooks(facts)
	if errors.Is(err, hooks.ErrInit) {
		m, err = hooks.New(a.Root, detect.Systemd, false, a.Run) // there may be files all the same
	}
	if err != nil {
		return nil, err
	}
	if err := m.StopAgent(ctx); err != nil {
		return nil, fmt.Errorf("stop RightLink: %w", err)
	}
	var removed []string
	for _, step := range []func(context.Context) ([]string, error){
		func(ctx context.Context) ([]string, error) { return a.removePackage(ctx, pkg, purge) },
		m.RemoveAll,
		func(context.Context) ([]string, error) { return a.removeHostSettings() },
		func(context.Context) ([]string, error) { return a.removeFiles() },
	} {
		done, err := step(ctx)
		removed = append(removed, done...)
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// removePackage removes a tarball's files always: we put them there.
func (a *Agent) removePackage(ctx context.Context, m *packages.Manager, purge bool) ([]string, error) {
	if purge {
		return m.Remove(ctx)
	}
	return m.RemoveTarball()
}

// removeHostSettings removes what stage rightscale wrote into files of others.
func (a *Agent) removeHostSettings() ([]string, error) {
	removed, err := a.hosts("")
	if err != nil {
		return removed, err
	}
	more, err := a.proxy(userdata.Settings{})
	if err != nil {
		return removed, err
	}
	removed = append(removed, more...)
	links, err := filepath.Glob(a.path("var/spool/*"))
	if err != nil {
		return removed, err
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && (target == "cloud" || target == "/var/spool/cloud") {
			if err := os.Remove(l); err != nil {
				return removed, err
			}
			removed = append(removed, "/var/spool/"+filepath.Base(l))
		}
	}
	return removed, nil
}

func (a *Agent) removeFiles() ([]string, error) {
	var removed []string
	remove := func(name string, with func(string) error) error {
		path := a.path(name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := with(path); err != nil {
			return err
		}
		removed = append(removed, name)
		return nil
	}
	log := supervise.LogPath("/")
	for _, name := range append(ownFiles(), log, log+".1") {
		if err := remove(name, os.Remove); err != nil {
			return removed, err
		}
	}
	for _, name := range ownTrees() {
		if err := remove(name, os.RemoveAll); err != nil {
			return removed, err
		}
	}
	if err := remove(program, os.Remove); err != nil {
		return removed, err
	}
	for _, name := range ownFolders() {
		err := remove(name, os.Remove)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrExist) { // what os calls a folder that is not empty
			return removed, err
		}
		a.Log.Warn("folder is kept, since it holds files that are not ours", "folder", name)
	}
	return removed, nil
}
