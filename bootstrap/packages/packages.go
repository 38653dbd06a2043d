// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package packages chooses the RightLink package for a machine, checks it and
// installs it: by dpkg where the machine has it, else by unpacking the tarball
// into /opt.
package packages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// Errors that callers tell apart.
var (
	// ErrNoVersion means that neither user-data nor the image names a version.
	ErrNoVersion = errors.New("no RightLink version known")
	// ErrNoPackage means that no fitting package is in the cache.
	ErrNoPackage = errors.New("no fitting RightLink package")
	// ErrChecksum means that a package is not the one that was put in.
	ErrChecksum = errors.New("package does not have its recorded SHA-256")
)

// Places on the machine.
const (
	CacheDir    = "/root/.rightscale"
	ReleaseFile = "/etc/rightscale.d/rightscale-release"
	LinkBin     = "/opt/rightscale/bin/rightlink"
	PostInstall = "/opt/rightscale/bin/post_install.sh"
	name        = "rightlink"
)

// Manager knows the packages of one machine.
type Manager struct {
	Root  string
	Facts detect.Facts
	Run   run.Runner
	// Clock and LockWait are for tests: the time that a package manager in use
	// is waited for.
	Clock    wait.Clock
	LockWait time.Duration
}

// version is what RS_version may hold.
var version = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][-_.a-z0-9]*$`) })

// Wanted returns the version to install: that of user-data, else that of the
// image.
func (m *Manager) Wanted(fromUserData string) (string, error) {
	if fromUserData != "" {
		return fromUserData, nil
	}
	text, err := os.ReadFile(filepath.Join(m.Root, ReleaseFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	v := strings.TrimSpace(string(text))
	if v == "" {
		return "", fmt.Errorf("%w: user-data has no RS_version and %s is missing or empty", ErrNoVersion, ReleaseFile)
	}
	if !version().MatchString(v) {
		return "", fmt.Errorf("%w: %s holds %q; digits, lower-case letters, dots, dashes and underscores are allowed", ErrNoVersion, ReleaseFile, v)
	}
	return v, nil
}

// Installed returns the version of RightLink on this machine, or "" when it is
// not installed or only in part.
func (m *Manager) Installed(ctx context.Context) (string, error) {
	if _, err := os.Stat(filepath.Join(m.Root, LinkBin)); err != nil {
		return "", nil //nolint:nilerr // without the program it is not installed
	}
	if m.dpkg() {
		if v, ok := m.dpkgVersion(ctx); ok {
			return v, nil
		}
	}
	if v, ok := m.rpmVersion(ctx); ok {
		return v, nil
	}
	rec, err := loadRecord(m.Root)
	if err != nil {
		return "", err
	}
	if rec.Complete {
		return rec.Version, nil
	}
	if len(rec.Files) > 0 || m.dpkgKnows(ctx) {
		return "", nil // an installation that was killed halfway
	}
	// Put there by somebody else, for instance by hand: the program knows.
	out, err := m.Run.Run(ctx, filepath.Join(m.Root, LinkBin), "version")
	if err != nil {
		return "", nil //nolint:nilerr // a program that does not run is not installed
	}
	return strings.TrimSpace(out), nil
}

// Package is a file of the cache.
type Package struct {
	Path   string
	Format string // deb, rpm, tar.gz
}

// Choose returns the package of that version for this machine from the image's
// cache: the native format first, then the tarball.
func (m *Manager) Choose(version string) (Package, error) {
	var names []string
	for _, c := range m.Candidates(version) {
		path := filepath.Join(m.Root, CacheDir, c.Name)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			names = append(names, c.Name)
		case err != nil:
			return Package{}, err
		case !info.Mode().IsRegular():
			return Package{}, fmt.Errorf("%w: %s is no plain file", ErrNoPackage, path)
		default:
			return Package{path, c.Format}, nil
		}
	}
	return Package{}, fmt.Errorf("%w for version %s on %s in %s; looked for %s", ErrNoPackage, version, m.Facts.Arch, CacheDir, strings.Join(names, ", "))
}

// Candidate is the name of a package that would fit, with its format.
type Candidate struct{ Name, Format string }

// Candidates lists the names of the packages of a version that fit this
// machine, the native format first.
func (m *Manager) Candidates(version string) []Candidate {
	seed := m.Facts.Seed
	var list []Candidate
	if format := seed.Suffix; format == pkgname.Deb && m.dpkg() || format == pkgname.RPM && m.rpm() {
		list = append(list,
			Candidate{pkgname.PackageFile(version, m.Facts.Arch, format), format},
			Candidate{fmt.Sprintf("rightscale_%s-%s_%s-%s.%s", version, seed.Distro, seed.OSVersion, seed.Arch, format), format})
	}
	return append(list,
		Candidate{pkgname.PackageFile(version, m.Facts.Arch, pkgname.Tarball), pkgname.Tarball},
		Candidate{fmt.Sprintf("rightscale_%s.tgz", version), pkgname.Tarball})
}

// Newest is the highest version that the cache has a fitting package of; empty
// when it has none.
func (m *Manager) Newest() string {
	entries, err := os.ReadDir(filepath.Join(m.Root, CacheDir))
	if err != nil {
		return ""
	}
	best := ""
	for _, e := range entries {
		i, err := pkgname.Parse(e.Name())
		if err != nil || i.Format == pkgname.Patch || !pkgname.IsVersion(i.Version) || best != "" && pkgname.Compare(i.Version, best) <= 0 {
			continue
		}
		if _, err := m.Choose(i.Version); err == nil {
			best = i.Version
		}
	}
	return best
}

// Install checks and installs a package. It can be killed at any moment and
// then be called again.
func (m *Manager) Install(ctx context.Context, p Package, version string) error {
	if err := Verify(p.Path); err != nil {
		return err
	}
	switch p.Format {
	case pkgname.Deb:
		return m.installDeb(ctx, p.Path)
	case pkgname.RPM:
		return m.installRPM(ctx, p.Path)
	}
	return m.installTarball(p.Path, version)
}

// RunPostInstall runs post_install.sh, which registers the later hooks. A
// package without it is fine: the caller registers them too.
func (m *Manager) RunPostInstall(ctx context.Context) error {
	path := filepath.Join(m.Root, PostInstall)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := m.Run.Run(ctx, path)
	return err
}

// Remove takes RightLink out the way it came in. It returns what it removed;
// nothing when RightLink was not installed.
func (m *Manager) Remove(ctx context.Context) ([]string, error) {
	var removed []string
	if m.dpkgKnows(ctx) {
		if err := m.purgeDeb(ctx); err != nil {
			return nil, err
		}
		removed = append(removed, "package "+name)
	}
	if _, ok := m.rpmVersion(ctx); ok {
		if err := m.eraseRPM(ctx); err != nil {
			return removed, err
		}
		removed = append(removed, "package "+name)
	}
	files, err := m.RemoveTarball()
	return append(removed, files...), err
}
