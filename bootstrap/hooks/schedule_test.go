// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
)

// TestSchedule: what upgrades the agent daily comes and goes with the hooks.
func TestSchedule(t *testing.T) {
	for init, want := range map[detect.Init][]string{
		detect.Systemd: {"etc/systemd/system/rightlink-upgrade.service", "etc/systemd/system/rightlink-upgrade.timer"},
		detect.SysV:    {"etc/cron.daily/rightlink-upgrade"},
	} {
		root := t.TempDir()
		dirs(t, root, "etc/rc2.d", "etc/cron.daily", "etc/init.d", "etc/systemd/system")
		m, _ := manager(t, root, init, false)
		_, err := m.RegisterImage(context.Background())
		require.NoError(t, err)
		for _, path := range want {
			require.FileExists(t, filepath.Join(root, path))
		}
		changed, err := m.RegisterImage(context.Background())
		require.NoError(t, err)
		require.Empty(t, changed)
		if init == detect.SysV {
			require.NoError(t, exec.Command("sh", "-n", filepath.Join(root, want[0])).Run())
			require.NoError(t, exec.Command("sh", filepath.Join(root, want[0])).Run(), "without an image it does nothing")
		}
		_, err = m.RemoveAll(context.Background())
		require.NoError(t, err)
		for _, path := range want {
			require.NoFileExists(t, filepath.Join(root, path))
		}
	}
}
