// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/mirrors"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/mirrorconf"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// obtainTime bounds the search for a package, with all mirrors and retries.
const obtainTime = 10 * time.Minute

// obtained is a package that can be installed.
type obtained struct {
	packages.Package
	version string
}

// obtainer finds packages: in the image's cache, then on its mirrors.
type obtainer struct {
	a        *Agent
	m        *packages.Manager
	settings userdata.Settings
	mirrors  *mirrors.Mirrors // opened at first need
}

func (a *Agent) obtainer(facts detect.Facts, s userdata.Settings) *obtainer {
	return &obtainer{a: a, m: a.packages(facts), settings: s}
}

func (o *obtainer) open() (*mirrors.Mirrors, error) {
	if o.mirrors != nil {
		return o.mirrors, nil
	}
	m, err := mirrors.Open(mirrors.Options{
		Root: o.a.Root, Proxy: o.settings.HTTPProxy, NoProxy: o.settings.NoProxy, First: o.patchURL(),
		Log: o.a.Log, Endpoint: os.Getenv(cloud.EndpointEnv),
	})
	if err == nil {
		o.mirrors = m
	}
	return m, err
}

// patchURL is RS_patch_url, if it is the address of a mirror. What is there has
// to be signed all the same.
func (o *obtainer) patchURL() string {
	u := o.settings.PatchURL
	if u == "" {
		return ""
	}
	if err := mirrorconf.CheckAddress(u); err != nil {
		o.a.Log.Warn("RS_patch_url is left out", "error", err)
		return ""
	}
	return u
}

func (o *obtainer) catalogue(ctx context.Context) (*trust.Catalogue, error) {
	m, err := o.open()
	if err != nil {
		return nil, err
	}
	return m.Catalogue(ctx)
}

// version turns a channel's name into the version that it points to.
func (o *obtainer) version(ctx context.Context, want string) (string, error) {
	if pkgname.IsVersion(want) {
		return want, nil
	}
	cat, err := o.catalogue(ctx)
	if err != nil {
		return "", fmt.Errorf("channel %s: %w", want, err)
	}
	v, ok := cat.Channel(want, o.m.Facts.Arch)
	if !ok {
		return "", fmt.Errorf("channel %s: %w for %s", want, packages.ErrNoPackage, o.m.Facts.Arch)
	}
	return v, nil
}

// get finds the package of a version: in the cache, unless it is damaged there,
// else on a mirror.
func (o *obtainer) get(ctx context.Context, version string) (obtained, error) {
	p, cacheErr := o.m.Choose(version)
	if cacheErr == nil {
		if cacheErr = packages.Verify(p.Path); cacheErr == nil {
			return obtained{p, version}, nil
		}
		o.a.Log.Warn("the cached package is left out", "error", cacheErr)
	}
	cat, err := o.catalogue(ctx)
	if errors.Is(err, mirrors.ErrNone) {
		return obtained{}, fmt.Errorf("%w; and %w", cacheErr, err)
	}
	if err != nil {
		return obtained{}, err
	}
	var names []string
	for _, c := range o.m.Candidates(version) {
		if f, ok := cat.Named(c.Name); ok {
			return o.fetch(ctx, f, c.Format)
		}
		names = append(names, c.Name)
	}
	return obtained{}, fmt.Errorf("%w for version %s; neither the cache nor the mirror has one of %s", packages.ErrNoPackage, version, strings.Join(names, ", "))
}

func (o *obtainer) fetch(ctx context.Context, f trust.File, format string, others ...string) (obtained, error) {
	file, err := o.mirrors.Fetch(ctx, f, o.a.path(packages.CacheDir), others...)
	if err != nil {
		return obtained{}, err
	}
	return obtained{packages.Package{Path: file, Format: format}, f.Version}, nil
}

// developer finds the package that RS_src names: an address, or the name of a
// build. The bytes may come from anywhere, but signed metadata has to vouch for
// them, unless the image was made to do without.
func (o *obtainer) developer(ctx context.Context, src string) (obtained, error) {
	isURL := strings.Contains(src, "://")
	var others []string
	names := o.m.Candidates(src)
	if isURL {
		others, names = []string{src}, []packages.Candidate{{Name: path.Base(src), Format: formatOf(src)}}
	}
	m, err := o.open()
	if err != nil {
		return obtained{}, fmt.Errorf("RS_src: %w", err)
	}
	cat, err := m.Catalogue(ctx)
	if err == nil {
		for _, c := range names {
			if f, ok := cat.Named(c.Name); ok && c.Format != "" {
				return o.fetch(ctx, f, c.Format, others...)
			}
		}
		err = fmt.Errorf("%s: %w", src, mirrors.ErrUntrusted)
	}
	if !m.Unsigned() {
		return obtained{}, fmt.Errorf("RS_src: %w; add the package to the mirror, or make the image with allow_unsigned_packages", err)
	}
	o.a.Log.Warn("a package that nobody signed, as this image allows", "RS_src", src)
	errs := []error{fmt.Errorf("RS_src %s: %w", src, packages.ErrNoPackage)}
	for _, address := range developerURLs(src, o.settings.Version, o.m.Facts.Seed.Distro, names, m.Addresses()) {
		to := o.a.path(packages.CacheDir, path.Base(address))
		err := m.Save(ctx, address, to)
		if format := formatOf(address); err == nil && format != "" {
			return obtained{packages.Package{Path: to, Format: format}, versionOf(address, src)}, nil
		}
		errs = append(errs, err)
	}
	return obtained{}, errors.Join(errs...)
}

// developerURLs is where the original looked for RS_src, in its order, below
// each mirror; last the value itself.
func developerURLs(src, version, distro string, names []packages.Candidate, bases []string) []string {
	if strings.Contains(src, "://") {
		return []string{src}
	}
	var list []string
	for _, base := range bases {
		for _, dir := range []string{path.Join(version, distro), version, path.Join(src, distro), src, ""} {
			for _, c := range names {
				if (c.Format == pkgname.Tarball && dir != "") || dir == distro {
					continue // tarballs lie at the top only
				}
				list = append(list, fetch.Join(base, path.Join(dir, c.Name)))
			}
		}
	}
	return list
}

func formatOf(address string) string {
	switch base := path.Base(address); {
	case strings.HasSuffix(base, ".deb"):
		return pkgname.Deb
	case strings.HasSuffix(base, ".rpm"):
		return pkgname.RPM
	case strings.HasSuffix(base, ".tgz"), strings.HasSuffix(base, ".tar.gz"):
		return pkgname.Tarball
	}
	return ""
}

func versionOf(address, src string) string {
	if i, err := pkgname.Parse(path.Base(address)); err == nil {
		return i.Version
	}
	return path.Base(src)
}
