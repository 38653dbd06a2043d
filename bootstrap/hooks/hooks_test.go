// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package hooks_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
)

var update = flag.Bool("update", false, "write the golden files")

// recorder notes every command and answers with err.
type recorder struct {
	argv []string
	err  error
}

func (r *recorder) Run(_ context.Context, name string, args ...string) (string, error) {
	r.argv = append(r.argv, strings.Join(append([]string{name}, args...), " "))
	return "", r.err
}

func tool(t *testing.T, root string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		full := filepath.Join(root, p)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte("#!/bin/sh\n"), 0o755))
	}
}

func dirs(t *testing.T, root string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		require.NoError(t, os.MkdirAll(filepath.Join(root, p), 0o755))
	}
}

func manager(t *testing.T, root string, init detect.Init, live bool) (*hooks.Manager, *recorder) {
	t.Helper()
	r := &recorder{}
	m, err := hooks.New(root, init, live, r)
	require.NoError(t, err)
	return m, r
}

// tree lists every path below root with mode and link target.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		rel, _ := filepath.Rel(root, path)
		target, _ := os.Readlink(path)
		out = append(out, rel+" "+info.Mode().String()+" "+target)
		return nil
	}))
	return out
}

func TestGolden(t *testing.T) {
	for init, dir := range map[detect.Init]string{detect.Systemd: "etc/systemd/system", detect.SysV: "etc/init.d", detect.OpenRC: "etc/init.d"} {
		root := t.TempDir()
		dirs(t, root, "etc/rc2.d")
		m, _ := manager(t, root, init, false)
		_, err := m.RegisterImage(context.Background())
		require.NoError(t, err)
		for _, h := range hooks.Names() {
			name := h
			if init == detect.Systemd {
				name += ".service"
			}
			suffix := ""
			if init == detect.OpenRC {
				suffix = ".openrc"
			}
			got, err := os.ReadFile(filepath.Join(root, dir, name))
			require.NoError(t, err)
			require.NotContains(t, string(got), "@", "every placeholder is filled")
			golden := filepath.Join("testdata", name+suffix+".golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run go test -update")
			require.Equal(t, string(want), string(got), name)
		}
	}
}

func TestScriptsAreShell(t *testing.T) {
	for _, h := range hooks.Names() {
		out, err := exec.Command("sh", "-n", filepath.Join("testdata", h+".golden")).CombinedOutput()
		require.NoError(t, err, string(out))
		out, err = exec.Command("sh", filepath.Join("testdata", h+".golden"), "dance").Output()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 255, exit.ExitCode(), "as the original")
		require.Contains(t, string(out), "usage:")
	}
}

func TestUnitsAreGood(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for _, h := range hooks.Names() {
		text, err := os.ReadFile(filepath.Join("testdata", h+".service.golden"))
		require.NoError(t, err)
		for _, bin := range []string{"bootstrap", "rightlink"} {
			text = []byte(strings.ReplaceAll(string(text), "/opt/rightscale/bin/"+bin, "/bin/true"))
		}
		path := filepath.Join(dir, h+".service")
		require.NoError(t, os.WriteFile(path, text, 0o644))
		args = append(args, path)
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), dir, "no warning about our units")
	require.NotContains(t, string(out), "cycle")
}

// life is the whole life of the hooks; it must leave the tree as it was.
func life(t *testing.T, m *hooks.Manager, root string) {
	t.Helper()
	ctx := context.Background()
	before := tree(t, root)
	_, missing, err := m.RegisterAgent(ctx)
	require.NoError(t, err)
	require.Equal(t, hooks.AgentHooks(), missing, "no hook files yet")
	changed, err := m.RegisterImage(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, changed)
	again, err := m.RegisterImage(ctx)
	require.NoError(t, err)
	require.Empty(t, again)
	for _, h := range hooks.Names() {
		require.Equal(t, slices.Contains(hooks.ImageHooks(), h), m.Enabled(h), h)
	}
	_, missing, err = m.RegisterAgent(ctx)
	require.NoError(t, err)
	require.Empty(t, missing)
	changed, err = m.Deregister(ctx, hooks.Image)
	require.NoError(t, err)
	require.Equal(t, []string{"disabled rightimage"}, changed)
	require.True(t, m.Installed(hooks.Image), "the file stays")
	for _, h := range hooks.Names() {
		require.Equal(t, h != hooks.Image, m.Enabled(h), h)
	}
	_, err = m.RemoveAll(ctx)
	require.NoError(t, err)
	require.Equal(t, before, tree(t, root))
}

func TestLife(t *testing.T) {
	t.Run("systemd without systemctl", func(t *testing.T) {
		root := t.TempDir()
		dirs(t, root, "etc/systemd/system/sockets.target.wants")
		m, r := manager(t, root, detect.Systemd, false)
		life(t, m, root)
		require.Empty(t, r.argv)
	})
	t.Run("systemd, live", func(t *testing.T) {
		root := t.TempDir()
		dirs(t, root, "etc/systemd/system")
		tool(t, root, "usr/bin/systemctl")
		m, r := manager(t, root, detect.Systemd, true)
		life(t, m, root)
		require.NoError(t, m.StartAgent(context.Background()))
		require.Equal(t, []string{
			"systemctl daemon-reload",
			"systemctl --root=" + root + " enable --quiet rightimage-early.service rightimage-key.service rightimage.service",
			"systemctl --root=" + root + " enable --quiet rightboot.service rightscale.service rightlink.service",
			"systemctl --root=" + root + " disable --quiet rightimage.service",
			"systemctl --root=" + root + " disable --quiet rightimage-early.service rightimage-key.service rightboot.service rightscale.service rightlink.service",
			"systemctl daemon-reload",
			"systemctl start --no-block rightlink.service",
		}, r.argv)
	})
	for name, tc := range map[string]struct {
		tool, dir, first, last string
		init                   detect.Init
	}{
		"debian":  {"usr/sbin/update-rc.d", "etc/rc2.d", "update-rc.d rightimage-early defaults 05 95", "update-rc.d -f rightlink remove", detect.SysV},
		"redhat":  {"sbin/chkconfig", "etc/rc.d/rc3.d", "chkconfig --add rightimage-early", "chkconfig --del rightlink", detect.Upstart},
		"suse":    {"sbin/insserv", "etc/rc.d/rc3.d", "insserv rightimage-early", "insserv", detect.SysV},
		"no tool": {"bin/true", "etc/rc2.d", "", "", detect.SysV},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			dirs(t, root, "etc/init.d", tc.dir, filepath.Dir(tc.dir)+"/rc0.d")
			tool(t, root, tc.tool)
			m, r := manager(t, root, tc.init, false)
			life(t, m, root)
			if tc.first == "" {
				require.Empty(t, r.argv)
				return
			}
			require.Equal(t, "chroot "+root+" "+tc.first, r.argv[0])
			require.Equal(t, "chroot "+root+" "+tc.last, r.argv[len(r.argv)-1])
		})
	}
}

func TestOpenRC(t *testing.T) {
	root := t.TempDir()
	dirs(t, root, "etc/init.d", "etc/runlevels/default", "etc/periodic/daily")
	m, r := manager(t, root, detect.OpenRC, true)
	life(t, m, root)
	require.Empty(t, r.argv, "links are all that it needs")
	_, err := m.RegisterImage(context.Background())
	require.NoError(t, err)
	require.NoError(t, m.StartAgent(context.Background()))
	require.NoError(t, m.StopAgent(context.Background()))
	require.Equal(t, []string{"rc-service rightboot start", "rc-service rightscale start", "rc-service rightlink start", "rc-service --ifstarted rightlink stop"}, r.argv)
}

func TestStartLSB(t *testing.T) {
	root := t.TempDir()
	dirs(t, root, "etc/rc2.d")
	m, r := manager(t, root, detect.SysV, true)
	_, err := m.RegisterImage(context.Background())
	require.NoError(t, err)
	r.err = errors.New("exit status 1")
	require.NoError(t, m.StartAgent(context.Background()), "exit codes of the scripts do not matter")
	require.Equal(t, []string{root + "/etc/init.d/rightboot start", root + "/etc/init.d/rightscale start", root + "/etc/init.d/rightlink start"}, r.argv)
}

func TestNoInit(t *testing.T) {
	root := t.TempDir()
	_, err := hooks.New(root, detect.InitNone, false, &recorder{})
	require.ErrorIs(t, err, hooks.ErrInit)
	dirs(t, root, "etc/init.d")
	m, _ := manager(t, root, detect.InitNone, false)
	_, err = m.RegisterImage(context.Background())
	require.ErrorIs(t, err, hooks.ErrInit, "no tool and no rc2.d")
	m, _ = manager(t, root, detect.InitNone, false)
	_, err = m.RemoveAll(context.Background())
	require.NoError(t, err)
}
