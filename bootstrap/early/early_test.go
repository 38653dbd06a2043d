// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package early

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
)

const mib = 1 << 20

func put(t *testing.T, root, path, text string) {
	t.Helper()
	full := filepath.Join(root, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(t, os.WriteFile(full, []byte(text), 0o755))
}

func TestHostKeys(t *testing.T) {
	root := t.TempDir()
	made, err := HostKeys(root)
	require.NoError(t, err)
	require.Empty(t, made, "no ssh server, no keys")
	put(t, root, "usr/sbin/sshd", "")
	put(t, root, "etc/hostname", "box\n")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/ssh"), 0o755))
	made, err = HostKeys(root)
	require.NoError(t, err)
	require.Equal(t, []string{"/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_rsa_key"}, made)
	for _, path := range made {
		private, public := filepath.Join(root, path), filepath.Join(root, path+".pub")
		info, err := os.Stat(private)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		text, err := os.ReadFile(public)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(string(text), " root@box\n"))
		if _, err := exec.LookPath("ssh-keygen"); err == nil {
			out, err := exec.Command("ssh-keygen", "-y", "-f", private).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Equal(t, strings.Fields(string(text))[:2], strings.Fields(string(out))[:2], "the pair belongs together")
		}
	}
	again, err := HostKeys(root)
	require.NoError(t, err)
	require.Empty(t, again)
	// An empty key is what a crash of another tool leaves.
	require.NoError(t, os.Truncate(filepath.Join(root, made[0]), 0))
	again, err = HostKeys(root)
	require.NoError(t, err)
	require.Equal(t, made[:1], again)
}

func TestCloudInit(t *testing.T) {
	root := t.TempDir()
	require.Empty(t, CloudInit(root))
	put(t, root, "usr/lib/systemd/system/cloud-init.service", "")
	require.NotEmpty(t, CloudInit(root))
	res, err := Run(context.Background(), Options{Root: root})
	require.NoError(t, err)
	require.Equal(t, "cloud-init is enabled and does this", res.Skipped)
	put(t, root, "etc/cloud/cloud-init.disabled", "")
	require.Empty(t, CloudInit(root))
	require.NoError(t, os.Remove(filepath.Join(root, "etc/cloud/cloud-init.disabled")))
	put(t, root, "proc/cmdline", "quiet cloud-init=disabled ro")
	require.Empty(t, CloudInit(root))
	put(t, root, "proc/cmdline", "quiet")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755))
	require.NoError(t, os.Symlink("/dev/null", filepath.Join(root, "etc/systemd/system/cloud-init.service")))
	require.Empty(t, CloudInit(root), "masked")
}

type recorder struct {
	argv []string
	err  error
}

func (r *recorder) Run(_ context.Context, name string, args ...string) (string, error) {
	r.argv = append(r.argv, strings.Join(append([]string{name}, args...), " "))
	return "", r.err
}

// machine is a root directory whose root file system lies on partition 2 of vda.
type machine struct {
	root  string
	told  []string
	fails error
	runs  recorder
}

func newMachine(t *testing.T, fsType string) *machine {
	t.Helper()
	for _, tool := range []string{"sfdisk", "mkfs." + fsType} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	m := &machine{root: t.TempDir()}
	root := m.root
	put(t, root, "proc/self/mountinfo", "21 1 254:2 / / rw,relatime shared:1 - "+fsType+" /dev/root rw\n22 21 0:5 / /dev rw - devtmpfs udev rw\n")
	put(t, root, "sys/devices/pci0/block/vda/size", fmt.Sprint(300*mib/512))
	put(t, root, "sys/devices/pci0/block/vda/vda2/partition", "2\n")
	put(t, root, "sys/devices/pci0/block/vda/vda2/start", "4096\n")
	put(t, root, "sys/devices/pci0/block/vda/vda2/size", fmt.Sprint(60*mib/512))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/dev/block"), 0o755))
	require.NoError(t, os.Symlink("../../devices/pci0/block/vda/vda2", filepath.Join(root, "sys/dev/block/254:2")))
	put(t, root, "dev/vda", "")
	disk := filepath.Join(root, "dev/vda")
	require.NoError(t, os.Truncate(disk, 64*mib))
	cmd := exec.Command("sfdisk", "--quiet", disk)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=2048, size=2048\nstart=4096, size=122880\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Truncate(disk, 300*mib))
	// The device of the partition: only its superblock is read.
	part := filepath.Join(root, "dev/vda2")
	put(t, root, "dev/vda2", "")
	size := int64(60 * mib)
	args := []string{"-q", part}
	if fsType == "xfs" {
		size = 300 * mib // the least that mkfs.xfs makes
	}
	require.NoError(t, os.Truncate(part, size))
	out, err = exec.Command("mkfs."+fsType, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return m
}

func (m *machine) grow(t *testing.T) ([]string, []string, error) {
	t.Helper()
	g := grower{
		Options: Options{Root: m.root, Run: &m.runs, Log: slog.New(slog.DiscardHandler)},
		tellKernel: func(_ *os.File, number int, start, size int64) error {
			m.told = append(m.told, fmt.Sprintf("%d %d %d", number, start/mib, size/mib))
			if m.fails != nil {
				return m.fails
			}
			put(t, m.root, "sys/devices/pci0/block/vda/vda2/size", fmt.Sprint(size/512))
			return nil
		},
	}
	return g.grow(context.Background())
}

func TestGrowExt4(t *testing.T) {
	m := newMachine(t, "ext4")
	put(t, m.root, "usr/sbin/resize2fs", "")
	device := filepath.Join(m.root, "dev/vda2")
	// Killed after the table was written: the next run tells the kernel.
	m.fails = errors.New("killed")
	_, _, err := m.grow(t)
	require.ErrorIs(t, err, m.fails)
	require.Empty(t, m.runs.argv)
	m.fails = nil
	// Killed before the file system: the next run grows it.
	m.runs.err = errors.New("killed")
	_, _, err = m.grow(t)
	require.ErrorIs(t, err, m.runs.err)
	m.runs = recorder{}
	changed, notes, err := m.grow(t)
	require.NoError(t, err)
	require.Empty(t, notes)
	require.Equal(t, []string{"file system on " + device + " grown"}, changed)
	require.Equal(t, []string{"2 2 297", "2 2 297"}, m.told)
	require.Equal(t, []string{"resize2fs " + device}, m.runs.argv)
	// The real tool does the growing here, and then nothing is left to do.
	require.NoError(t, os.Truncate(device, 297*mib))
	out, err := exec.Command("resize2fs", device).CombinedOutput()
	require.NoError(t, err, string(out))
	m.runs = recorder{}
	changed, notes, err = m.grow(t)
	require.NoError(t, err)
	require.Empty(t, append(changed, notes...))
	require.Empty(t, m.runs.argv)
	disk, err := os.Open(filepath.Join(m.root, "dev/vda"))
	require.NoError(t, err)
	defer disk.Close()
	table, err := parttable.Read(disk, 300*mib)
	require.NoError(t, err)
	require.Equal(t, int64(297*mib), table.Partitions[1].Size)
}

func TestGrowXFS(t *testing.T) {
	m := newMachine(t, "xfs")
	put(t, m.root, "sys/devices/pci0/block/vda/size", fmt.Sprint(600*mib/512))
	require.NoError(t, os.Truncate(filepath.Join(m.root, "dev/vda"), 600*mib))
	_, notes, err := m.grow(t)
	require.NoError(t, err)
	require.Equal(t, []string{"the file system could grow, but xfs_growfs is not installed"}, notes)
	put(t, m.root, "usr/sbin/xfs_growfs", "")
	changed, _, err := m.grow(t)
	require.NoError(t, err)
	require.Len(t, changed, 1)
	require.Equal(t, []string{"xfs_growfs /"}, m.runs.argv)
}

func TestGrowLeavesAlone(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, root string){
		"no mountinfo": func(t *testing.T, root string) {
			require.NoError(t, os.Remove(filepath.Join(root, "proc/self/mountinfo")))
		},
		"btrfs": func(t *testing.T, root string) {
			put(t, root, "proc/self/mountinfo", "21 1 0:30 / / rw - btrfs /dev/vda2 rw\n")
		},
		"mapper": func(t *testing.T, root string) {
			require.NoError(t, os.MkdirAll(filepath.Join(root, "sys/devices/virtual/block/dm-0"), 0o755))
			require.NoError(t, os.Symlink("../../devices/virtual/block/dm-0", filepath.Join(root, "sys/dev/block/253:0")))
			put(t, root, "proc/self/mountinfo", "21 1 253:0 / / rw - ext4 /dev/mapper/x rw\n")
		},
		"not the last partition": func(t *testing.T, root string) {
			put(t, root, "sys/devices/pci0/block/vda/vda2/partition", "1\n")
		},
		"unknown file system": func(t *testing.T, root string) {
			put(t, root, "proc/self/mountinfo", "21 1 254:2 / / rw - f2fs /dev/vda2 rw\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "ext4")
			spoil(t, m.root)
			_, notes, err := m.grow(t)
			require.NoError(t, err)
			require.Len(t, notes, 1)
			require.Empty(t, m.runs.argv)
		})
	}
}
