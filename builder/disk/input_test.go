// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// copyOf runs the copy step on an input and returns the working copy.
func copyOf(t *testing.T, input string, c Config) (string, error) {
	t.Helper()
	state := new(multistep.BasicStateBag)
	keyInput.Put(state, input)
	keyWorkDir.Put(state, t.TempDir())
	if c.DiskSize != "" {
		size, err := parseSize(c.DiskSize)
		require.NoError(t, err)
		c.sizeBytes = size
	}
	f := &flow{config: &c, user: run.Exec{}}
	err := f.copyDisk(context.Background(), &step.Job{State: state, UI: quietUI()})
	work, _ := keyWork.Get(state)
	return work, err
}

func TestCopyKeepsHolesAndGrows(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "in.raw")
	require.NoError(t, os.WriteFile(raw, []byte("data"), 0o600))
	require.NoError(t, os.Truncate(raw, 100*mib))
	work, err := copyOf(t, raw, Config{DiskSize: "200M"})
	require.NoError(t, err)
	info, err := os.Stat(work)
	require.NoError(t, err)
	require.EqualValues(t, 200*mib, info.Size())
	require.Less(t, diskfile.Allocated(info), int64(mib))

	_, err = copyOf(t, raw, Config{DiskSize: "50M"})
	require.ErrorContains(t, err, "disk_size")
}

func TestCopyConvertsQcow2(t *testing.T) {
	needTools(t, "qemu-img")
	dir := t.TempDir()
	sh(t, `cd "$1"; head -c 3000000 /dev/urandom > a.raw; truncate -s 20M a.raw
		qemu-img convert -O qcow2 a.raw a.qcow2; qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 child.qcow2`, dir)
	work, err := copyOf(t, dir+"/a.qcow2", Config{})
	require.NoError(t, err)
	sh(t, `cmp "$1" "$2"`, dir+"/a.raw", work)

	_, err = copyOf(t, dir+"/child.qcow2", Config{})
	require.ErrorContains(t, err, "refers to another file")
}
