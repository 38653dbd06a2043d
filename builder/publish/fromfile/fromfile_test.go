// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fromfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
)

type quiet struct{}

func (quiet) Say(string) {}

// commands fails the conversion, after it has begun to write.
type commands struct{ argv []string }

func (c *commands) Run(_ context.Context, name string, args ...string) (string, error) {
	c.argv = append([]string{name}, args...)
	return "", errors.Join(os.WriteFile(args[len(args)-1], []byte("half"), 0o600), errors.New("no luck"))
}

func TestWorkDir(t *testing.T) {
	parent := t.TempDir()
	used, remove, err := workDir(parent)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(used, "disk.raw"), nil, 0o600))
	dead := filepath.Join(parent, workPrefix+"dead")
	require.NoError(t, os.MkdirAll(filepath.Join(dead, "more"), 0o700))
	other, removeOther, err := workDir(parent)
	require.NoError(t, err)
	require.DirExists(t, used, "a running process has it")
	require.NoDirExists(t, dead)
	removeOther()
	require.NoDirExists(t, other)
	remove()
	require.NoDirExists(t, used)
	_, _, err = workDir(filepath.Join(parent, "nowhere"))
	require.Error(t, err)
}

func TestFailedConversionLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c := &commands{}
	j := Job{Path: filepath.Join(dir, "disk.qcow2"), UI: quiet{}, Commands: c}
	_, _, err := j.raw(t.Context(), diskfile.Info{Format: "qcow2", Size: 1 << 20, Needed: 1 << 10})
	require.ErrorContains(t, err, "no luck")
	require.Equal(t, "qemu-img convert -f qcow2 -O raw", strings.Join(c.argv[:6], " "))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	_, _, err = j.raw(t.Context(), diskfile.Info{Format: "qcow2", Needed: 1 << 60})
	require.ErrorContains(t, err, "temp_directory")
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestChecksComeFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	require.NoError(t, os.Truncate(path, 2<<30))
	j := Job{Path: path, UI: quiet{}, Config: publish.Config{VolumeSize: 1}}
	require.ErrorContains(t, j.Check(t.Context(), nil), "volume_size")
	j.Format = "qcow2"
	require.ErrorContains(t, j.Check(t.Context(), nil), "disk_format")
}
