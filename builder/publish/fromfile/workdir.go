// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fromfile

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
)

const workPrefix = ".rightimage-publish-"

// workDir makes a temporary directory and holds its lock for as long as it is
// used. One whose lock is free belonged to a process that was killed: it goes.
func workDir(parent string) (dir string, remove func(), err error) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return "", nil, err
	}
	for _, e := range entries {
		old := filepath.Join(parent, e.Name())
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		if unlock, free := dirlock.Try(old); free {
			_ = os.RemoveAll(old) // what is somebody else's stays
			unlock()
		}
	}
	if dir, err = os.MkdirTemp(parent, workPrefix); err != nil {
		return "", nil, err
	}
	unlock, err := dirlock.Lock(dir)
	if err != nil {
		_ = os.Remove(dir)
		return "", nil, err
	}
	// In the moment before the lock another process may have taken it for an old
	// one. Then it is gone, and the copy into it says so.
	return dir, func() {
		_ = os.RemoveAll(dir)
		unlock()
	}, nil
}
