// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package diskfile

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDetect(t *testing.T) {
	iso := make([]byte, 40000)
	copy(iso[32769:], "CD001")
	for name, tc := range map[string]struct {
		data string
		set  string
		want string
		fail string
	}{
		"raw":             {"\x00\x00", "", "raw", ""},
		"qcow2":           {"QFI\xfb\x00", "", "qcow2", ""},
		"vmdk":            {"KDMV\x00", "", "vmdk", ""},
		"qcow2 as raw":    {"QFI\xfb\x00", "raw", "raw", ""},
		"raw as qcow2":    {"\x00\x00", "qcow2", "", "disk_format"},
		"gzip":            {"\x1f\x8b\x08", "", "", "unpack it first"},
		"xz":              {"\xfd7zXZ\x00", "qcow2", "", "unpack it first"},
		"vmdk descriptor": {"# Disk DescriptorFile\n", "", "", "qemu-img convert"},
		"iso":             {string(iso), "", "", "ISO image"},
		"empty":           {"", "", "", "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in")
			require.NoError(t, os.WriteFile(path, []byte(tc.data), 0o600))
			got, err := Detect(path, tc.set)
			if tc.fail != "" {
				require.ErrorContains(t, err, tc.fail)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestCheckSpace(t *testing.T) {
	err := CheckSpace(t.TempDir(), 1<<50, "set output_directory")
	require.ErrorContains(t, err, "not enough space: the working copy needs 1048576 GiB")
	require.ErrorContains(t, err, "output_directory")
	require.NoError(t, CheckSpace(t.TempDir(), 1, ""))
}

func TestCopyNeedsSpace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	small := t.TempDir()
	require.NoError(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", small).Run())
	defer func() { require.NoError(t, exec.Command("umount", small).Run()) }()
	require.ErrorContains(t, CheckSpace(small, 1<<20, ""), "has 8192 KiB free")
}
