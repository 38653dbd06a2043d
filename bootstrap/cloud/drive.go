// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readDrive reads files of the small disk or CD that some clouds attach, found
// by its label. Each name may be missing. ErrAbsent when there is no such disk.
func readDrive(root string, labels, names []string) (map[string][]byte, error) {
	device := findDrive(root, labels)
	if device == "" {
		return nil, fmt.Errorf("a disk with label %s: %w", labels[0], ErrAbsent)
	}
	if info, err := os.Stat(device); err == nil && info.IsDir() {
		return readFiles(device, names) // a test's, or mounted by somebody else
	}
	dir, err := os.MkdirTemp(filepath.Join(root, "run"), ".drive-") // 0700
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(dir) }()
	var errs []error
	for _, kind := range []string{"iso9660", "vfat", "ext4"} {
		err := unix.Mount(device, dir, kind, unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOSUID, "")
		if err != nil {
			errs = append(errs, fmt.Errorf("as %s: %w", kind, err))
			continue
		}
		files, err := readFiles(dir, names)
		return files, errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
	}
	return nil, fmt.Errorf("mount %s: %w", device, errors.Join(errs...))
}

// findDrive returns what udev calls the disk; "" when there is none.
func findDrive(root string, labels []string) string {
	for _, label := range labels {
		path := filepath.Join(root, "dev/disk/by-label", label)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// readFiles reads those of the files that are there, within their folder.
func readFiles(dir string, names []string) (map[string][]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	files := map[string][]byte{}
	for _, name := range names {
		info, err := root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() || info.Size() > maxInput {
			return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", name, maxInput)
		}
		if files[name], err = root.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}
