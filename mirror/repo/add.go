// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package repo

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

// ErrUnknown means that the repository has nothing of that name.
var ErrUnknown = errors.New("not in the repository")

// Add takes packages and patches in, and makes the channels point to the highest
// version of the packages. All of them are checked before the first is copied.
func (r *Repo) Add(files []string, channels []string) ([]string, error) {
	infos, newest := make([]pkgname.Info, len(files)), ""
	for i, f := range files {
		info, err := pkgname.Parse(filepath.Base(f))
		if err != nil {
			return nil, err
		}
		infos[i] = info
		if info.Format != pkgname.Patch && (newest == "" || pkgname.Compare(info.Version, newest) > 0) {
			newest = info.Version
		}
	}
	if newest == "" && len(channels) > 0 {
		return nil, errors.New("patches belong to a version, not to a channel; leave out the channel")
	}
	for _, c := range channels {
		if !pkgname.IsChannel(c) {
			return nil, fmt.Errorf("channel %q: a channel's name begins with a letter and holds lower-case letters, digits, dots, dashes and underscores", c)
		}
	}
	var added []string
	for i, f := range files {
		target := infos[i].Target(filepath.Base(f))
		if err := r.take(f, target, infos[i]); err != nil {
			return added, err
		}
		added = append(added, target)
	}
	if err := r.point(newest, channels); err != nil {
		return added, err
	}
	return added, r.publish(true)
}

// take copies one file in and describes it.
func (r *Repo) take(file, target string, info pkgname.Info) error {
	sum, err := fetch.Digest(file)
	if err != nil {
		return err
	}
	if old := r.targets.Signed.Targets[target]; old != nil {
		if hex.EncodeToString(old.Hashes["sha256"]) != sum {
			return fmt.Errorf("%s: %w", target, ErrChanged)
		}
		if old.Custom != nil {
			if info, err = pkgname.FromRaw(target, old.Custom); err != nil {
				return err
			}
		}
	}
	if err := copyFile(file, filepath.Join(r.Dir, filepath.FromSlash(target))); err != nil {
		return err
	}
	t, err := metadata.TargetFile().FromFile(file, "sha256", "sha512")
	if err != nil {
		return err
	}
	t.Path = target
	if t.Custom, err = info.Raw(); err != nil {
		return err
	}
	r.targets.Signed.Targets[target] = t
	return nil
}

// point makes channels name a version: its files carry the channel, those of
// other versions lose it.
func (r *Repo) point(version string, channels []string) error {
	if len(channels) == 0 {
		return nil
	}
	found := false
	for target, t := range r.targets.Signed.Targets {
		info, err := pkgname.FromRaw(target, t.Custom)
		if err != nil || info.Format == pkgname.Patch {
			continue
		}
		found = found || info.Version == version
		for _, c := range channels {
			info.Channels = slices.DeleteFunc(info.Channels, func(have string) bool { return have == c })
			if info.Version == version {
				info.Channels = append(info.Channels, c)
			}
		}
		slices.Sort(info.Channels)
		if t.Custom, err = info.Raw(); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("version %s: %w", version, ErrUnknown)
	}
	return nil
}

// Point moves channels to a version that the repository has: forwards, or back
// when a version turned out bad.
func (r *Repo) Point(version string, channels ...string) error {
	if err := r.point(version, channels); err != nil {
		return err
	}
	return r.publish(true)
}

// Remove withdraws a version, or one file of it, from the metadata. The files
// stay until Prune, for readers of the state before.
func (r *Repo) Remove(names ...string) ([]string, error) {
	var gone []string
	for _, name := range names {
		before := len(gone)
		for target := range r.targets.Signed.Targets {
			if dir, file := path.Split(target); strings.TrimSuffix(dir, "/") == name || file == name || target == name {
				delete(r.targets.Signed.Targets, target)
				gone = append(gone, target)
			}
		}
		if len(gone) == before {
			return nil, fmt.Errorf("%s: %w", name, ErrUnknown)
		}
	}
	slices.Sort(gone)
	return gone, r.publish(true)
}

// Targets lists what the repository has.
func (r *Repo) Targets() []string {
	var list []string
	for t := range r.targets.Signed.Targets {
		list = append(list, t)
	}
	slices.Sort(list)
	return list
}

// copyFile puts a file in place as a whole or not at all.
func copyFile(from, to string) error {
	if same, err := sameFile(from, to); err != nil || same {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	tmp, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".tmp-")
	if err != nil {
		return err
	}
	_, err = io.Copy(tmp, in)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), to)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

func sameFile(a, b string) (bool, error) {
	x, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	y, err := os.Stat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(x, y), err
}
