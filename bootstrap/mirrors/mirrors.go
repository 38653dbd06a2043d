// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package mirrors gets RightLink packages and patches from the mirrors that an
// image was made with. Nothing counts but what their signed metadata vouches
// for, from the image's root of trust on; where the bytes come from does not
// matter.
package mirrors

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/mirrorconf"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// StateDir keeps what was last trusted, and the mirrors' health.
const StateDir = "/var/lib/rightscale/mirror"

// metadataTime bounds the metadata of one mirror, so that a bad one does not
// keep the next from being asked.
const metadataTime = time.Minute

// Errors of this package.
var (
	// ErrNone means that the image knows no mirror.
	ErrNone = errors.New("the image has no mirror")
	// ErrMirrors means that no mirror gave what was asked for.
	ErrMirrors = errors.New("no mirror could be used")
	// ErrUntrusted means that no metadata vouches for a package.
	ErrUntrusted = errors.New("no mirror's signed metadata vouches for it")
)

// Options of Open.
type Options struct {
	// Root is the machine's root directory.
	Root string
	// Proxy and NoProxy as in user-data.
	Proxy, NoProxy string
	// First is a mirror to ask before those of the image (RS_patch_url). It has
	// to carry metadata of the same root of trust.
	First string
	Log   *slog.Logger
	// Endpoint of the metadata service, for the instance's role; empty for EC2's.
	Endpoint string
	// Now replaces the clock in tests.
	Now func() time.Time
}

// Mirrors are the mirrors of one machine.
type Mirrors struct {
	o      Options
	list   []string
	client *fetch.Client
	trust  *trust.Client
	cat    *trust.Catalogue
}

// Open reads what the image says about mirrors. It asks nobody yet.
func Open(o Options) (*Mirrors, error) {
	m := &Mirrors{o: o}
	root, err := os.ReadFile(m.path(mirrorconf.RootFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is not there", ErrNone, mirrorconf.RootFile)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(m.path(mirrorconf.ListFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m.list = mirrorconf.ParseList(text)
	if o.First != "" {
		m.list = append([]string{o.First}, m.list...)
	}
	if len(m.list) == 0 {
		return nil, fmt.Errorf("%w: %s is missing or empty", ErrNone, mirrorconf.ListFile)
	}
	ca, err := os.ReadFile(m.path(mirrorconf.CAFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	m.client, err = fetch.New(fetch.Options{
		Proxy: o.Proxy, NoProxy: o.NoProxy, CA: ca, UserAgent: "rightimage-bootstrap/" + version.String(),
		Role: fetch.InstanceRole{Endpoint: o.Endpoint},
	})
	if err != nil {
		return nil, err
	}
	m.trust = &trust.Client{Root: root, Dir: m.path(StateDir, "trusted"), Get: m.client, Now: o.Now}
	return m, os.MkdirAll(m.path(StateDir), 0o700)
}

func (m *Mirrors) path(elem ...string) string {
	return filepath.Join(append([]string{m.o.Root}, elem...)...)
}

// Catalogue returns what the first mirror has whose metadata is good. It asks
// once.
func (m *Mirrors) Catalogue(ctx context.Context) (*trust.Catalogue, error) {
	if m.cat != nil {
		return m.cat, nil
	}
	errs := []error{ErrMirrors}
	for _, base := range m.ordered() {
		cat, err := m.refresh(ctx, base)
		m.note(base, err)
		if err == nil {
			m.cat = cat
			return cat, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		m.o.Log.Warn("mirror", "address", base, "error", err)
		errs = append(errs, err)
		if errors.Is(err, trust.ErrRoot) {
			break // the image's own fault
		}
	}
	return nil, errors.Join(errs...)
}

func (m *Mirrors) refresh(ctx context.Context, base string) (*trust.Catalogue, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTime)
	defer cancel()
	return m.trust.Refresh(ctx, base)
}

// Fetch puts a file of the catalogue into a folder, with its digest beside it,
// from the first place that has the right bytes: other addresses first, then
// each mirror, in its own layout and in that of the original's bucket.
func (m *Mirrors) Fetch(ctx context.Context, f trust.File, dir string, others ...string) (string, error) {
	to := filepath.Join(dir, path.Base(f.Target))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// The digest first: the package is never there without it.
	line := fmt.Sprintf("%s  %s\n", f.SHA256, filepath.Base(to))
	if err := atomicfile.Write(to+".sha256", []byte(line), 0o600); err != nil {
		return "", err
	}
	errs := []error{fmt.Errorf("%s: %w", f.Target, ErrMirrors)}
	for _, address := range others {
		err := m.client.Download(ctx, to, f.File, 0o600, address)
		if err == nil {
			return to, nil
		}
		errs = append(errs, err)
	}
	for _, base := range m.ordered() {
		var addresses []string
		for _, c := range f.Candidates(f.Target) {
			addresses = append(addresses, fetch.Join(base, c))
		}
		err := m.client.Download(ctx, to, f.File, 0o600, addresses...)
		if err == nil {
			return to, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, fetch.ErrSpace) {
			break
		}
		m.note(base, err)
		m.o.Log.Warn("mirror", "address", base, "file", f.Target, "error", err)
	}
	return "", errors.Join(errs...)
}

// Unsigned says that the image allows packages that nobody signed.
func (m *Mirrors) Unsigned() bool {
	_, err := os.Stat(m.path(mirrorconf.UnsignedFile))
	return err == nil
}

// Addresses returns the mirrors, healthy ones first.
func (m *Mirrors) Addresses() []string { return m.ordered() }

// Save downloads a file that nobody vouches for. See Unsigned.
func (m *Mirrors) Save(ctx context.Context, address, to string) error {
	if !m.Unsigned() {
		return ErrUntrusted
	}
	sum, err := m.client.Save(ctx, address, to, 0o600)
	if err != nil {
		return err
	}
	return atomicfile.Write(to+".sha256", []byte(sum+"  "+filepath.Base(to)+"\n"), 0o600)
}
