// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// workPrefix begins the names of the temporary directories of builds.
const workPrefix = ".rightimage-build-"

// workName is the raw working copy in such a directory.
const workName = "disk.raw"

// workDir makes the temporary directory of this build in out, and clears away
// those of builds that were killed. A directory is locked for as long as its
// build lives.
func (f *flow) workDir(ctx context.Context, j *step.Job, out string) (dir string, unlock func(), err error) {
	done, err := dirlock.Lock(out) // nobody else clears or makes one meanwhile
	if err != nil {
		return "", nil, err
	}
	defer done()
	old, err := filepath.Glob(filepath.Join(globEscape(out), workPrefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, stale := range old {
		unlock, free := dirlock.Try(stale)
		if !free {
			continue // its build is still running
		}
		j.UI.Say("Clearing away what a killed build left in " + stale)
		if err := f.clear(ctx, stale); err != nil {
			j.UI.Error(fmt.Sprintf("left behind: %s: %v", stale, err))
		}
		unlock()
	}
	if dir, err = os.MkdirTemp(out, workPrefix); err != nil {
		return "", nil, err
	}
	unlock, err = dirlock.Lock(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, unlock, nil
}

// clear unmounts and detaches what a killed build had in its directory, then
// removes it; but never through a mount that is still there.
func (f *flow) clear(ctx context.Context, dir string) error {
	a := &attachment{root: f.root, disk: filepath.Join(dir, workName), dir: dir}
	if err := errors.Join(a.unmount(ctx), a.detach(ctx)); err != nil {
		return err
	}
	if mounts, err := mountsBelow(dir); err != nil || len(mounts) > 0 || a.lazy {
		return errors.Join(err, fmt.Errorf("something is still mounted there: unmount it and remove the directory"))
	}
	return os.RemoveAll(dir)
}

// globEscape makes a pattern of a path that only it matches.
func globEscape(path string) string {
	return strings.NewReplacer("\\", "\\\\", "*", "\\*", "?", "\\?", "[", "\\[").Replace(path)
}
