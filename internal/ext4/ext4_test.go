// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ext4

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// made makes a file system with a few files in it.
func made(t testing.TB, args ...string) string {
	t.Helper()
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		mke2fs = "/usr/sbin/mke2fs"
	}
	if _, err := os.Stat(mke2fs); err != nil {
		t.Skip("mke2fs is not installed")
	}
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fs")
	out, err := exec.Command(mke2fs, append(append([]string{"-q", "-F", "-t", "ext4", "-d", tree}, args...), path, "8M")...).CombinedOutput()
	if err != nil {
		t.Fatal(string(out))
	}
	return path
}

// Settle leaves a sound file system whose times are the date, by the words of
// e2fsprogs.
func TestSettle(t *testing.T) {
	path := made(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	super, err := ReadSuper(f)
	require.NoError(t, err)
	date := time.Unix(1_000_000_000, 0)
	root := Root{Mode: 0o1750, UID: 70001, GID: 5, Modified: time.Unix(900_000_000, 0)}
	require.NoError(t, Settle(f, date, root, super))
	out, err := exec.Command("/usr/sbin/e2fsck", "-f", "-n", path).CombinedOutput()
	require.NoError(t, err, string(out))
	stat := func(p string) string {
		out, err := exec.Command("/usr/sbin/debugfs", "-R", "stat "+p, path).Output()
		require.NoError(t, err)
		return string(out)
	}
	require.Equal(t, 4, strings.Count(stat("/file"), "0x3b9aca00"), "access, change, birth, modification: %s", stat("/file"))
	require.Contains(t, stat("/"), "Mode:  01750")
	require.Contains(t, stat("/"), "User: 70001   Group:     5")
	require.Contains(t, stat("/"), "mtime: 0x35a4e900")
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, Settle(f, date, root, super))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a second time changes nothing")
}

// memory is a disk in memory.
type memory struct{ data []byte }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, os.ErrInvalid
	}
	return copy(m.data[off:], p), nil
}

// A superblock that makes no sense is an error, and never a panic or a write
// elsewhere.
func FuzzSettle(f *testing.F) {
	whole, err := os.ReadFile(made(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[superAt : superAt+superSize])
	f.Add(make([]byte, superSize))
	like, err := ReadSuper(memory{whole})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, super []byte) {
		data := bytes.Clone(whole[:2<<20])
		copy(data[superAt:superAt+superSize], super)
		if s, err := ReadSuper(memory{data}); err == nil {
			_, _ = s.Arguments()
		}
		_ = Settle(memory{data}, time.Unix(1, 0), Root{}, like)
	})
}
