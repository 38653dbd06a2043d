// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rootfs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
)

const mib = 1 << 20

func made(t *testing.T, size int64, tool string, args ...string) *os.File {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skip(tool + " is not installed")
	}
	name := filepath.Join(t.TempDir(), "fs")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, f.Truncate(size))
	out, err := exec.Command(path, append(args, name)...).CombinedOutput()
	require.NoError(t, err, string(out))
	return f
}

func TestProbe(t *testing.T) {
	const uuid = "11111111-2222-3333-4444-555555555555"
	for name, tc := range map[string]struct {
		size int64
		tool string
		args []string
		want rootfs.FS
	}{
		"ext4": {32 * mib, "mkfs.ext4", []string{"-q", "-L", "root", "-U", uuid},
			rootfs.FS{Type: "ext4", Label: "root", UUID: uuid, Size: 32 * mib}},
		"ext2": {8 * mib, "mkfs.ext2", []string{"-q", "-U", uuid}, rootfs.FS{Type: "ext2", UUID: uuid, Size: 8 * mib}},
		"ext3": {32 * mib, "mkfs.ext3", []string{"-q", "-U", uuid}, rootfs.FS{Type: "ext3", UUID: uuid, Size: 32 * mib}},
		"xfs": {512 * mib, "mkfs.xfs", []string{"-q", "-L", "data", "-m", "uuid=" + uuid},
			rootfs.FS{Type: "xfs", Label: "data", UUID: uuid, Size: 512 * mib}},
		"swap": {mib, "mkswap", []string{"-q"}, rootfs.FS{Type: "swap"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rootfs.Probe(made(t, tc.size, tc.tool, tc.args...), 0, tc.size)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestProbeNothing(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 4096, 1 << 20} {
		got, err := rootfs.Probe(bytes.NewReader(make([]byte, size)), 0, size)
		require.NoError(t, err)
		require.Zero(t, got)
	}
}

func candidate(number int, size int64, fs, label, kind string) rootfs.Candidate {
	return rootfs.Candidate{
		Partition: parttable.Partition{Number: number, Size: size, Type: kind},
		FS:        rootfs.FS{Type: fs, Label: label},
	}
}

func TestRanked(t *testing.T) {
	esp := candidate(15, 100*mib, "vfat", "", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	boot := candidate(2, 2000*mib, "ext4", "boot", "")
	plain := candidate(3, 900*mib, "ext4", "", "")
	typed := candidate(4, 500*mib, "xfs", "", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709")

	got, err := rootfs.Ranked([]rootfs.Candidate{esp, boot, plain, typed}, 0)
	require.NoError(t, err)
	require.Equal(t, []rootfs.Candidate{typed, plain, boot}, got)

	got, err = rootfs.Ranked([]rootfs.Candidate{esp, boot, plain}, 2)
	require.NoError(t, err)
	require.Equal(t, []rootfs.Candidate{boot}, got)

	_, err = rootfs.Ranked([]rootfs.Candidate{esp}, 0)
	require.ErrorIs(t, err, rootfs.ErrNotFound)
	require.ErrorContains(t, err, "partition 15: vfat, 100 MiB")
	require.ErrorContains(t, err, "root_partition = N")

	_, err = rootfs.Ranked([]rootfs.Candidate{esp}, 15)
	require.ErrorContains(t, err, "only ext2, ext3, ext4 and xfs")
	_, err = rootfs.Ranked([]rootfs.Candidate{esp}, 7)
	require.ErrorContains(t, err, "no such partition")

	lvm := candidate(1, 900*mib, "LVM2_member", "", "8e")
	_, err = rootfs.Ranked([]rootfs.Candidate{lvm}, 0)
	require.ErrorContains(t, err, "LVM2_member is not supported")
}

func TestScanWholeDisk(t *testing.T) {
	f := made(t, 32*mib, "mkfs.ext4", "-q")
	got, err := rootfs.Scan(f, 32*mib, parttable.Table{Scheme: parttable.None})
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "the whole disk: ext4, 32 MiB", got[0].String())
}
