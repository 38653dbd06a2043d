// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
	"github.com/rightimage/packer-plugin-rightimage/verify/raw"
)

func needTools(t *testing.T, more ...string) {
	if os.Geteuid() != 0 {
		t.Skip("making file systems needs root")
	}
	t.Setenv("PATH", "/usr/sbin:/sbin:"+os.Getenv("PATH"))
	for _, tool := range append(corpus.Tools(), more...) {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "the tests need %s (make test-deps)", tool)
	}
}

func scanDisk(t *testing.T, path string) *verify.Report {
	o := options()
	r, err := raw.Run(t.Context(), path, raw.Options{Public: true, Needles: o.Needles, Now: o.Now})
	require.NoError(t, err)
	return r
}

func makeDisk(t *testing.T, plant func(*corpus.Disk)) string {
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, corpus.MakeDisk(t.Context(), path, corpus.DiskFiles(), plant))
	return path
}

func TestDisks(t *testing.T) {
	needTools(t)
	require.Empty(t, scanDisk(t, makeDisk(t, nil)).Findings)
	for _, c := range corpus.DiskCases() {
		t.Run(c.Check+"/"+c.Name, func(t *testing.T) {
			r := scanDisk(t, makeDisk(t, c.Defect))
			require.NotEmpty(t, of(r, c.Check), "the defect is not found")
			require.NotEmpty(t, r.Open(verify.Blocker), "the disk is not refused")
			require.Empty(t, of(scanDisk(t, makeDisk(t, c.Near)), c.Check), "the near-miss is reported")
		})
	}
}

// A key in UTF-16 inside a program, in a file that is there: found when the disk
// is mounted.
func TestMountedDisk(t *testing.T) {
	needTools(t, "losetup", "mount")
	files := corpus.DiskFiles()
	files["/usr/bin/tool"] = "\x7fELF\x02\x01\x01" + corpus.Wide(corpus.Key()) + "\x00\xff"
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, corpus.MakeDisk(t.Context(), path, files, nil))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	var r *verify.Report
	require.NoError(t, disk.Inspect(t.Context(), path, func(root string) (err error) {
		r, err = verify.Run(t.Context(), root, options())
		return err
	}))
	var where []string
	for _, f := range of(r, "cred-aws") {
		where = append(where, f.Path+" "+f.Evidence)
	}
	text := strings.Join(where, "\n")
	require.Contains(t, text, "/root/key AWS access key at byte")
	require.Contains(t, text, "/usr/bin/tool AWS access key in UTF-16 at byte")
	require.NotContains(t, text, corpus.KeySecret())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, string(before) == string(after), "looking changes nothing")
}

// What the kernel itself leaves of a file that was written, synced and deleted,
// on each file system.
func TestDeletedOnAMountedDisk(t *testing.T) {
	needTools(t, "losetup", "mount", "fstrim")
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			mkfs, err := exec.LookPath("mkfs." + kind)
			if err != nil {
				t.Skip("no mkfs." + kind)
			}
			path, dir := filepath.Join(t.TempDir(), "disk.raw"), t.TempDir()
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Truncate(path, 1<<30))
			sh(t, mkfs, "-q", path)
			sh(t, "mount", "-o", "loop", path, dir)
			mounted := true
			defer func() {
				if mounted {
					sh(t, "umount", dir)
				}
			}()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "stays"), []byte(strings.Repeat("x", 9000)), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "gone"), []byte(strings.Repeat("-", 5000)+"\n"+corpus.Key()), 0o600))
			sh(t, "sync", "-f", dir)
			require.NoError(t, os.Remove(filepath.Join(dir, "gone")))
			sh(t, "umount", dir)
			mounted = false
			require.NotEmpty(t, of(scanDisk(t, path), "fs-deleted-data"))

			sh(t, "mount", "-o", "loop", path, dir)
			mounted = true
			sh(t, "fstrim", dir)
			sh(t, "umount", dir)
			mounted = false
			require.Empty(t, of(scanDisk(t, path), "fs-deleted-data"), "trimmed")
		})
	}
}

func sh(t *testing.T, name string, args ...string) {
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
}
