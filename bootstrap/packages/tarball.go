// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Limits on a tarball; ours has a handful of files and some 15 MB.
const (
	maxTarFiles = 10000
	maxTarBytes = 1 << 30
)

// ErrTarball means that a tarball holds something that a RightLink package
// does not.
var ErrTarball = errors.New("tarball refused")

// record remembers what a tarball put in, so that it can be taken out again. It
// is written before the first file and marked complete after the last.
type record struct {
	Version  string   `json:"version"`
	Files    []string `json:"files"` // relative to /opt
	Complete bool     `json:"complete"`
}

func recordPath(root string) string { return filepath.Join(root, "var/lib/rightscale/tarball.json") }

func loadRecord(root string) (record, error) {
	var rec record
	text, err := os.ReadFile(recordPath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err != nil {
		return rec, err
	}
	if json.Unmarshal(text, &rec) != nil {
		return record{}, nil //nolint:nilerr // a damaged record is none: the tarball is unpacked again
	}
	return rec, nil
}

func (r record) save(root string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(recordPath(root), append(text, '\n'), 0o600, 0o755)
}

// installTarball reads the archive twice: first to refuse it as a whole, then
// to unpack it.
func (m *Manager) installTarball(file, version string) error {
	rec := record{Version: version}
	err := walkTarball(file, func(h *tar.Header, _ io.Reader) error {
		if h.Typeflag != tar.TypeDir {
			rec.Files = append(rec.Files, clean(h.Name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.Contains(rec.Files, strings.TrimPrefix(LinkBin, "/opt/")) {
		return fmt.Errorf("%w: %s has no rightscale/bin/rightlink", ErrTarball, file)
	}
	if err := rec.save(m.Root); err != nil {
		return err
	}
	opt := filepath.Join(m.Root, "opt")
	if err := os.MkdirAll(opt, 0o755); err != nil {
		return err
	}
	dir, err := os.OpenRoot(opt)
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing to lose
	if err := walkTarball(file, func(h *tar.Header, r io.Reader) error { return unpack(dir, h, r) }); err != nil {
		return err
	}
	rec.Complete = true
	return rec.save(m.Root)
}

func clean(name string) string { return path.Clean(strings.TrimPrefix(name, "./")) }

// walkTarball calls fn for every entry, each checked before.
func walkTarball(file string, fn func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	zip, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTarball, file, err)
	}
	r := tar.NewReader(io.LimitReader(zip, maxTarBytes))
	for n := 0; ; n++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && n >= maxTarFiles {
			err = fmt.Errorf("more than %d files", maxTarFiles)
		}
		if err == nil {
			err = checkEntry(h)
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrTarball, file, err)
		}
		if err := fn(h, r); err != nil {
			return err
		}
	}
}

// checkEntry allows folders, plain files and relative links, below rightscale/
// only.
func checkEntry(h *tar.Header) error {
	name := clean(h.Name)
	if name == "." && h.Typeflag == tar.TypeDir {
		return nil
	}
	if !filepath.IsLocal(name) || name != "rightscale" && !strings.HasPrefix(name, "rightscale/") {
		return fmt.Errorf("entry %q lies outside of rightscale/", h.Name)
	}
	if name == "rightscale/bin/bootstrap" {
		return fmt.Errorf("entry %q belongs to the image, not to the package", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeReg:
		return nil
	case tar.TypeSymlink:
		target := path.Join(path.Dir(name), h.Linkname) //nolint:gosec // checked in the next line
		if filepath.IsAbs(h.Linkname) || target != "rightscale" && !strings.HasPrefix(target, "rightscale/") {
			return fmt.Errorf("link %q leads to %q, outside of rightscale/", h.Name, h.Linkname)
		}
		return nil
	default:
		return fmt.Errorf("entry %q is neither file, folder nor link", h.Name)
	}
}

// unpack puts one entry below /opt. os.Root keeps links that are already there
// from leading anywhere else.
func unpack(dir *os.Root, h *tar.Header, r io.Reader) error {
	name := clean(h.Name)
	if name == "." {
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		return dir.MkdirAll(name, 0o755)
	}
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), "."+path.Base(name)+".unpack")
	if err := dir.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		if err := dir.Symlink(h.Linkname, tmp); err != nil {
			return err
		}
		return dir.Rename(tmp, name)
	}
	mode := fs.FileMode(h.Mode).Perm() &^ 0o022
	if strings.HasPrefix(name, "rightscale/bin/") {
		mode |= 0o111 // as the original did
	}
	f, err := dir.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, copyErr := io.Copy(f, r)
	if err := errors.Join(copyErr, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return dir.Rename(tmp, name)
}

// ApplyPatch replaces files of the installed version by those of a patch, each
// by one rename. Whether it belongs to the version is the caller's matter.
func (m *Manager) ApplyPatch(file string) error {
	if err := Verify(file); err != nil {
		return err
	}
	if err := walkTarball(file, func(*tar.Header, io.Reader) error { return nil }); err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Join(m.Root, "opt"))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing to lose
	return walkTarball(file, func(h *tar.Header, r io.Reader) error { return unpack(dir, h, r) })
}

// RemoveTarball removes what a tarball put in, whole or in part.
func (m *Manager) RemoveTarball() ([]string, error) {
	rec, err := loadRecord(m.Root)
	if err != nil || rec.Version == "" {
		return nil, err
	}
	dir, err := os.OpenRoot(filepath.Join(m.Root, "opt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, os.Remove(recordPath(m.Root))
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close() //nolint:errcheck // nothing to lose
	var removed []string
	folders := map[string]bool{}
	for _, f := range rec.Files {
		if !filepath.IsLocal(f) || !strings.HasPrefix(f, "rightscale/") {
			continue
		}
		tmp := path.Join(path.Dir(f), "."+path.Base(f)+".unpack")
		for _, name := range []string{f, tmp} {
			if err := dir.Remove(name); err == nil {
				removed = append(removed, "/opt/"+name)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return removed, err
			}
		}
		for d := path.Dir(f); d != "." && d != "rightscale"; d = path.Dir(d) {
			folders[d] = true
		}
	}
	for _, d := range slices.Backward(sortedKeys(folders)) {
		_ = dir.Remove(d) // only if it is empty
	}
	return removed, os.Remove(recordPath(m.Root))
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
