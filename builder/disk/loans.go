// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// loans are files that the chroot has during provisioning only. The image's own
// files of the same name, links included, wait beside them.
type loans struct {
	root run.Runner
	dir  string // where the image is mounted
	say  func(string)
	lent []loan
}

type loan struct {
	source string // file of this machine
	path   string // the file as this machine sees it, below the mount
	saved  string // the image's own file meanwhile; empty if it had none
	parent time.Time
}

// inside returns a path of the image as this machine sees it. Directories that
// are links to outside of the image are refused: writing there as root would
// change this machine.
func inside(dir, path string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close() //nolint:errcheck // only read
	rel := strings.TrimPrefix(filepath.Clean(path), "/")
	if rel == "" {
		rel = "."
	}
	parent := filepath.Dir(rel)
	if _, err := root.Stat(parent); err != nil {
		return "", fmt.Errorf("%s of the image: %w", path, err)
	}
	return filepath.Join(dir, rel), nil
}

// lend copies a file of this machine into the image.
func (l *loans) lend(ctx context.Context, source, path string) error {
	dst, err := inside(l.dir, path)
	if err != nil {
		return err
	}
	parent, err := os.Stat(filepath.Dir(dst))
	if err != nil {
		return err
	}
	item := loan{source: source, path: dst, parent: parent.ModTime()}
	if _, err := os.Lstat(dst); err == nil {
		item.saved = filepath.Join(filepath.Dir(dst), "."+filepath.Base(dst)+".rightimage-saved")
		if _, err := quick(ctx, l.root, "mv", "-T", dst, item.saved); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.lent = append(l.lent, item)
	_, err = quick(ctx, l.root, "cp", "-T", "-L", "--preserve=mode", source, dst)
	return err
}

// takeBack removes what was lent and puts the image's own files back. A file
// that a provisioner has changed belongs to the image now and stays.
func (l *loans) takeBack(ctx context.Context) error {
	for i := len(l.lent) - 1; i >= 0; i-- {
		if err := l.giveBack(ctx, l.lent[i]); err != nil {
			return err
		}
	}
	l.lent = nil
	return nil
}

func (l *loans) giveBack(ctx context.Context, item loan) error {
	rel, err := filepath.Rel(l.dir, item.path)
	if err != nil {
		return err
	}
	// A provisioner may have made a directory a link meanwhile.
	if _, err := inside(l.dir, rel); err != nil {
		return err
	}
	if l.changed(ctx, item) {
		l.say(fmt.Sprintf("/%s was changed while provisioning; the change stays", rel))
		if item.saved != "" {
			_, err = quick(ctx, l.root, "rm", "-rf", item.saved)
		}
		return err
	}
	if _, err := quick(ctx, l.root, "rm", "-f", item.path); err != nil {
		return err
	}
	if item.saved != "" {
		if _, err := quick(ctx, l.root, "mv", "-T", item.saved, item.path); err != nil {
			return err
		}
	}
	stamp := "@" + strconv.FormatFloat(float64(item.parent.UnixNano())/1e9, 'f', 6, 64)
	_, err = quick(ctx, l.root, "touch", "-m", "-d", stamp, filepath.Dir(item.path))
	return err
}

// changed tells whether a lent file is no longer what was lent. One that was
// removed counts as unchanged: cleaning up after oneself is no change.
func (l *loans) changed(ctx context.Context, item loan) bool {
	info, err := os.Lstat(item.path)
	if err != nil {
		return false
	}
	if !info.Mode().IsRegular() {
		return true
	}
	_, err = quick(ctx, l.root, "cmp", "-s", item.source, item.path)
	return err != nil
}
