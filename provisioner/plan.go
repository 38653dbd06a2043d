// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/mirrorconf"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
)

// Paths in the guest.
const (
	bootstrapPath = "/opt/rightscale/bin/bootstrap"
	hintDir       = "/etc/rightscale.d"
	cacheDir      = "/root/.rightscale"
	spoolDir      = "/var/spool/cloud"
	releasePath   = hintDir + "/rightimage-release.js"
)

// plan is what a guest should have.
type plan struct {
	dirs   []dir
	files  []file
	links  []link
	chosen *Package // the package of the wanted version; nil when there is none
}

type dir struct {
	path string
	mode uint32
}

type file struct {
	path string
	mode uint32
	data []byte
	// same decides whether the guest's file needs no change although its bytes
	// differ; nil means that bytes decide.
	same func(old []byte) bool
}

type link struct{ path, target string }

// makePlan decides what a guest gets. It changes nothing.
func makePlan(f facts, agents Agents, c Config, ui Reporter) (plan, error) {
	bootstrap, err := agents.Bootstrap(f.Arch)
	if err != nil {
		return plan{}, err
	}
	packages, version, err := choosePackages(f, agents, c, ui)
	if err != nil {
		return plan{}, err
	}
	p := plan{
		dirs: []dir{
			{"/opt", 0o755}, {"/opt/rightscale", 0o755}, {filepath.Dir(bootstrapPath), 0o755},
			{hintDir, 0o755}, {spoolDir, 0o700},
		},
		files: []file{
			{path: bootstrapPath, mode: 0o755, data: bootstrap},
			{path: hintDir + "/cloud", mode: 0o444, data: []byte(c.Cloud + "\n")},
			{path: hintDir + "/rightscale-release", mode: 0o444, data: []byte(version)},
		},
	}
	release, err := releaseFile(c, version)
	if err != nil {
		return plan{}, err
	}
	p.files = append(p.files, release)
	if c.ca != nil {
		p.files = append(p.files, file{path: hintDir + "/ca.pem", mode: 0o644, data: c.ca})
	}
	p.addMirrors(c)
	if c.LoginUser != "" {
		p.files = append(p.files, file{path: hintDir + "/login-user", mode: 0o444, data: []byte(c.LoginUser + "\n")})
	}
	if c.Cloud == cloudEC2 {
		// Scripts of old images look for the spool under the cloud's name.
		p.links = append(p.links, link{"/var/spool/" + c.Cloud, spoolDir})
	}
	if !c.SkipPackageCache {
		p.dirs = append(p.dirs, dir{cacheDir, 0o700})
		p.files = append(p.files, cacheFiles(packages)...)
	}
	for i := range packages {
		if m := packageName().FindStringSubmatch(packages[i].Name); m != nil && (m[1] == version || pkgname.IsChannel(version)) {
			p.chosen = &packages[i]
		}
	}
	if p.chosen == nil && c.Mode == modePreinstalled {
		return plan{}, fmt.Errorf("mode = %q: no RightLink package of version %s for %s; give one in package_files, or leave out rightlink_version", c.Mode, version, f.Arch)
	}
	if p.chosen == nil || c.SkipPackageCache {
		ui.Say(fmt.Sprintf("The image holds no RightLink package of version %s; instances get it from a mirror", version))
	}
	return p, nil
}

// addMirrors puts in what bootstrap reads about mirrors.
func (p *plan) addMirrors(c Config) {
	if c.root == nil {
		return
	}
	p.dirs = append(p.dirs, dir{mirrorconf.Dir, 0o755})
	list := "# Mirrors of RightLink packages, tried from top to bottom.\n" + strings.Join(c.Mirrors, "\n") + "\n"
	p.files = append(p.files,
		file{path: mirrorconf.RootFile, mode: 0o644, data: c.root},
		file{path: mirrorconf.ListFile, mode: 0o644, data: []byte(list)})
	if c.mirrorCA != nil {
		p.files = append(p.files, file{path: mirrorconf.CAFile, mode: 0o644, data: c.mirrorCA})
	}
	if c.AllowUnsignedPackages {
		p.files = append(p.files, file{path: mirrorconf.UnsignedFile, mode: 0o444, data: []byte("RS_src may name packages that nobody signed.\n")})
	}
}

// choosePackages returns the packages that fit the guest, and the version that
// instances want.
func choosePackages(f facts, agents Agents, c Config, ui Reporter) ([]Package, string, error) {
	format := pkgname.Tarball
	switch {
	case f.Dpkg:
		format = pkgname.Deb
	case f.RPM:
		format = pkgname.RPM
	}
	embedded, err := agents.Packages(f.Arch)
	if err != nil {
		return nil, "", err
	}
	version := c.RightLinkVersion
	var out []Package
	for _, p := range embedded {
		m := packageName().FindStringSubmatch(p.Name)
		if m == nil || m[2] != f.Arch || m[3] != format {
			continue
		}
		if version == "" {
			version = m[1]
		}
		// Of a channel, the plugin's own version is what there is without a mirror.
		if m[1] == version || pkgname.IsChannel(version) {
			out = append(out, p)
		}
	}
	for _, path := range c.PackageFiles {
		m := packageName().FindStringSubmatch(filepath.Base(path))
		if m == nil || m[2] != f.Arch {
			ui.Say(fmt.Sprintf("%s is not for this guest (%s); left out", path, f.Arch))
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, "", fmt.Errorf("package_files: %w", err)
		}
		out = append(out, Package{Name: filepath.Base(path), Data: data})
	}
	if version == "" {
		return nil, "", fmt.Errorf("this plugin carries no RightLink package (%s) for %s; set rightlink_version", format, f.Arch)
	}
	return out, version, nil
}

// cacheFiles are packages with their checksums beside them, in the form that
// sha256sum -c reads.
func cacheFiles(packages []Package) []file {
	var out []file
	for _, p := range packages {
		sum := sha256.Sum256(p.Data)
		line := fmt.Sprintf("%s  %s\n", hex.EncodeToString(sum[:]), p.Name)
		out = append(out,
			file{path: cacheDir + "/" + p.Name, mode: 0o600, data: p.Data},
			file{path: cacheDir + "/" + p.Name + ".sha256", mode: 0o600, data: []byte(line)})
	}
	return out
}

// release is rightimage-release.js; its keys are those of the original.
type release struct {
	FreezeDate       string `json:"freeze-date"`
	BuildDate        string `json:"build-date"`
	BuildID          string `json:"build-id"`
	RightLinkVersion string `json:"rightlink-version"`
	Hypervisor       string `json:"hypervisor"`
}

// releaseFile holds the date of the build. A second run is no new build, so
// that a file that differs in its date only stays.
func releaseFile(c Config, version string) (file, error) {
	built, err := sourcedate.Env()
	if err != nil {
		return file{}, err
	}
	if built.IsZero() {
		built = time.Now().UTC()
	}
	r := release{
		FreezeDate: c.FreezeDate, BuildDate: built.Format("20060102"),
		BuildID: c.BuildID, RightLinkVersion: version, Hypervisor: "none",
	}
	if c.Cloud == cloudEC2 {
		r.Hypervisor = "kvm"
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return file{}, err
	}
	same := func(old []byte) bool {
		var was release
		if json.Unmarshal(old, &was) != nil || was.BuildDate == "" {
			return false
		}
		was.BuildDate = r.BuildDate
		return was == r
	}
	return file{path: releasePath, mode: 0o644, data: append(data, '\n'), same: same}, nil
}
