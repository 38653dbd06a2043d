// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upgrade_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/upgrade"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// machine has an agent whose program says how it is.
type machine struct {
	root     string
	pid      int
	restarts int
	undone   []string
}

func newMachine(t *testing.T) (*machine, *upgrade.Upgrader) {
	t.Helper()
	m := &machine{root: t.TempDir(), pid: 100}
	m.put("rightlink", "good 1")
	m.put("post_install.sh", "script 1")
	m.put("bootstrap", "image's own")
	if err := os.Symlink("rightlink", m.path("rs_tag")); err != nil {
		t.Fatal(err)
	}
	return m, &upgrade.Upgrader{
		Root: m.root, Log: slog.New(slog.DiscardHandler), Service: m, BootID: "boot-1", Clock: &wait.Fake{},
		Undo: func(_ context.Context, old upgrade.Label) error {
			m.undone = append(m.undone, old.String())
			return nil
		},
	}
}

func (m *machine) path(name string) string { return filepath.Join(m.root, "opt/rightscale/bin", name) }

func (m *machine) put(name, text string) {
	path := m.path(name)
	_ = os.MkdirAll(filepath.Dir(path), 0o755)
	_ = os.WriteFile(path+".new", []byte(text), 0o755)
	_ = os.Rename(path+".new", path) // as package managers do
}

func (m *machine) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(m.path(name))
	require.NoError(t, err)
	return string(text)
}

// Restart implements upgrade.Service.
func (m *machine) Restart(context.Context) error {
	m.restarts++
	m.pid++
	return nil
}

// Healthy implements upgrade.Service.
func (m *machine) Healthy(context.Context) (int, error) {
	text, err := os.ReadFile(m.path("rightlink"))
	switch {
	case err != nil:
		return 0, err
	case string(text) == "crashes":
		m.pid++ // every look sees another process
	case string(text) == "broken":
		return 0, upgrade.ErrBroken
	case string(text) == "bad":
		return 0, errors.New("it does not run")
	}
	return m.pid, nil
}

func (m *machine) to(version, text string) upgrade.Change {
	return upgrade.Change{
		From: upgrade.Label{Version: "1"}, To: upgrade.Label{Version: version},
		Apply: func(context.Context) error {
			m.put("rightlink", text)
			m.put("extra", "new in "+version)
			return nil
		},
	}
}

func TestUpgrade(t *testing.T) {
	m, u := newMachine(t)
	require.NoError(t, u.Do(context.Background(), m.to("2", "good 2")))
	require.Equal(t, "good 2", m.read(t, "rightlink"))
	require.Equal(t, 1, m.restarts)
	require.Empty(t, m.undone)
	j, err := u.Load()
	require.NoError(t, err)
	require.Equal(t, upgrade.Settled, j.Phase)
	require.Contains(t, j.Last, "2 works (before: 1)")
	kept, err := os.ReadFile(filepath.Join(m.root, upgrade.Kept, "1/rightlink"))
	require.NoError(t, err)
	require.Equal(t, "good 1", string(kept), "the version before lies beside")
}

func TestRollback(t *testing.T) {
	for _, text := range []string{"bad", "crashes", "broken"} {
		m, u := newMachine(t)
		err := u.Do(context.Background(), m.to("2", text))
		require.ErrorIs(t, err, upgrade.ErrRolledBack)
		require.Equal(t, "good 1", m.read(t, "rightlink"))
		require.NoFileExists(t, m.path("extra"))
		require.Equal(t, "image's own", m.read(t, "bootstrap"))
		link, err := os.Readlink(m.path("rs_tag"))
		require.NoError(t, err)
		require.Equal(t, "rightlink", link)
		require.Equal(t, 2, m.restarts)
		require.Equal(t, []string{"1"}, m.undone)
		j, err := u.Load()
		require.NoError(t, err)
		require.True(t, j.IsRefused(upgrade.Label{Version: "2"}))
		require.False(t, j.IsRefused(upgrade.Label{Version: "2", Patch: 1}))
		require.Equal(t, upgrade.Settled, j.Phase)
		require.NoError(t, u.Do(context.Background(), m.to("3", "good 3")))
	}
}

func TestApplyFails(t *testing.T) {
	m, u := newMachine(t)
	c := m.to("2", "bad")
	apply := c.Apply
	c.Apply = func(ctx context.Context) error { return errors.Join(apply(ctx), errors.New("disk full")) }
	require.ErrorContains(t, u.Do(context.Background(), c), "disk full")
	require.Equal(t, "good 1", m.read(t, "rightlink"))
}

// TestPowerCut: at whatever step the machine loses power, the boots afterwards
// end with an agent that works.
func TestPowerCut(t *testing.T) {
	for name, tc := range map[string]struct {
		text  string
		cut   func(m *machine, u *upgrade.Upgrader) // leaves the machine as it was at the cut
		boots int
		want  string
	}{
		"before files": {"good 2", func(m *machine, u *upgrade.Upgrader) {
			c := m.to("2", "good 2")
			c.Apply = func(context.Context) error { panic("cut") }
			_ = u.Begin(context.Background(), c)
		}, 1, "good 1"},
		"amid files": {"good 2", func(m *machine, u *upgrade.Upgrader) {
			c := m.to("2", "good 2")
			c.Apply = func(context.Context) error { m.put("rightlink", "good 2"); panic("cut") }
			_ = u.Begin(context.Background(), c)
		}, 1, "good 1"},
		"on trial, good": {"good 2", func(m *machine, u *upgrade.Upgrader) {
			_ = u.Begin(context.Background(), m.to("2", "good 2"))
		}, 1, "good 2"},
		"on trial, bad": {"bad", func(m *machine, u *upgrade.Upgrader) {
			_ = u.Begin(context.Background(), m.to("2", "bad"))
		}, 1, "good 1"},
		"on trial, boots never judged": {"bad", func(m *machine, u *upgrade.Upgrader) {
			_ = u.Begin(context.Background(), m.to("2", "bad"))
			for _, boot := range []string{"b2", "b3"} {
				u.BootID = boot
				_, _ = u.Recover(context.Background())
			}
		}, 1, "good 1"},
	} {
		t.Run(name, func(t *testing.T) {
			m, u := newMachine(t)
			func() {
				defer func() { _ = recover() }()
				tc.cut(m, u)
			}()
			u.BootID = "boot-after"
			trial, err := u.Recover(context.Background())
			require.NoError(t, err)
			if trial {
				err := u.Judge(context.Background())
				if tc.want == "good 1" {
					require.ErrorIs(t, err, upgrade.ErrRolledBack)
				} else {
					require.NoError(t, err)
				}
			}
			require.Equal(t, tc.want, m.read(t, "rightlink"))
			j, err := u.Load()
			require.NoError(t, err)
			require.Equal(t, upgrade.Settled, j.Phase)
		})
	}
}

func TestPatchLevel(t *testing.T) {
	m, u := newMachine(t)
	c := m.to("1", "good 1 patched")
	c.To.Patch = 2
	require.NoError(t, u.Do(context.Background(), c))
	j, err := u.Load()
	require.NoError(t, err)
	require.Equal(t, 2, u.Level(j, "1"))
	require.Zero(t, u.Level(j, "2"))
	m.put("rightlink", "put in by hand")
	require.Zero(t, u.Level(j, "1"))
}

// TestOldProcess: a restart that is only asked for must not be taken for a
// healthy new agent.
func TestOldProcess(t *testing.T) {
	m, u := newMachine(t)
	u.Service = &lazy{machine: m}
	u.Bound, u.Settle = 30*time.Second, 5*time.Second
	require.ErrorIs(t, u.Do(context.Background(), m.to("2", "good 2")), upgrade.ErrRolledBack)
}

type lazy struct{ *machine }

func (*lazy) Restart(context.Context) error { return nil }
