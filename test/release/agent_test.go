// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package release

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/install/packaging"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
	"github.com/rightimage/packer-plugin-rightimage/test/chroot"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// template is a ServerTemplate whose script tells that it ran.
const (
	template = "Name: Packaged\nDescription: x\nInputs: {}\nRightScripts:\n  Boot:\n    - greet.sh\n  Operational: []\n  Decommission: []\nMultiCloudImages: []\nAlerts: []\n"
	script   = "#!/bin/sh\n# ---\n# RightScript Name: Greet\n# Description: Greets.\n# Packages:\n# Inputs: {}\n# ...\necho booted by a package\n"
)

// The agent's packages install with dpkg, enrol with a platform, run the boot
// scripts, and are removed with the machine as it was.
func TestAgentPackages(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	env, err := chain.New("release", os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	base := os.Getenv("RIGHTIMAGE_BASE_DISK")
	if base == "" {
		base, err = env.BaseDisk(ctx, chain.Systemd)
		require.NoError(t, err)
	}
	platform, err := env.StartPlatform(ctx)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(env.Work, "packaged.yml"), []byte(template), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(env.Work, "greet.sh"), []byte(script), 0o755))
	for _, args := range [][]string{
		{"server-template", "upload", filepath.Join(env.Work, "packaged.yml")},
		{"server", "create", "deb-1", "--server-template", "Packaged", "--enrolment", "legacy"}, // the machine is of no cloud
		{"server", "user-data", "deb-1", "--host", platform.Addr, "--output", filepath.Join(env.Work, "user-data")},
	} {
		_, err := platform.Admin(ctx, args...)
		require.NoError(t, err)
	}

	require.NoError(t, chroot.With(ctx, base, func(m chroot.Machine) error {
		before := listing(t, m)
		installPackages(ctx, t, env, m)
		for _, line := range difference(before, listing(t, m)) {
			require.Regexp(t, `^\+1 `, line, "nothing of the machine's own has changed")
		}
		require.NoError(t, m.Put(platform.CA, "/etc/rightscale.d/ca.pem", 0o644))
		require.NoError(t, m.Put(filepath.Join(env.Work, "user-data"), "/var/spool/none/user-data.txt", 0o600))
		require.NoError(t, os.WriteFile(m.Path("/etc/rightscale.d/cloud"), []byte("none\n"), 0o644))
		require.NoError(t, os.WriteFile(m.Path("/var/spool/none/meta-data.txt"), []byte("instance-id=packaged-1\n"), 0o644))

		enrol(ctx, t, m, platform)

		run(ctx, t, m, "dpkg", "--purge", "rightlink")
		run(ctx, t, m, "dpkg", "--purge", packaging.Bootstrap)
		require.NoError(t, os.RemoveAll(m.Path("/var/spool/none"))) // we put it there
		left := slices.DeleteFunc(difference(before, listing(t, m)), func(line string) bool {
			return line == "-1 /opt drwxr-xr-x" // no package owns it in Debian, and dpkg removes what becomes empty
		})
		require.Empty(t, left, "the machine is as it was")
		return nil
	}))
}

// installPackages installs both packages, in the order that a person would, and
// looks at what they have done.
func installPackages(ctx context.Context, t *testing.T, env *chain.Env, m chroot.Machine) {
	t.Helper()
	dir := t.TempDir()
	in := packaging.Input{
		Name: packaging.Bootstrap, Version: version.Package(), Arch: runtime.GOARCH,
		Binary: embedded(t, env, dir), Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	var deb bytes.Buffer
	require.NoError(t, packaging.Write(&deb, packaging.KindDeb, in))
	first := filepath.Join(dir, in.FileName(packaging.KindDeb))
	require.NoError(t, os.WriteFile(first, deb.Bytes(), 0o644))
	second := filepath.Join(env.Repo, "internal", "agents", "dist", build.FileName(version.Package(), runtime.GOARCH, build.KindDeb))
	require.FileExists(t, second, "run \"make generate\" first")
	for _, file := range []string{first, second} {
		require.NoError(t, m.Put(file, "/tmp/"+filepath.Base(file), 0o644))
		run(ctx, t, m, "dpkg", "-i", "/tmp/"+filepath.Base(file))
		require.NoError(t, os.Remove(m.Path("/tmp/"+filepath.Base(file))))
	}
	require.Contains(t, run(ctx, t, m, "dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", "rightlink", packaging.Bootstrap), "rightlink installed\n")
	for _, hook := range []string{"rightimage-early", "rightimage", "rightboot", "rightscale", "rightlink"} {
		require.Contains(t, run(ctx, t, m, "systemctl", "is-enabled", hook+".service"), "enabled", hook)
	}
	run(ctx, t, m, "/usr/bin/rs_state", "--help")
	// The man pages are there too, but this small system leaves all of them out.
	require.FileExists(t, m.Path("/usr/share/bash-completion/completions/rightlink"))
	require.FileExists(t, m.Path("/usr/share/bash-completion/completions/bootstrap"))

	// It refuses to go while RightLink is there, and nothing is half removed.
	out, err := m.Run(ctx, "dpkg", "--remove", packaging.Bootstrap)
	require.Error(t, err)
	require.Contains(t, out, "the package rightlink is still installed")
	require.FileExists(t, m.Path("/opt/rightscale/bin/bootstrap"))
	run(ctx, t, m, "dpkg", "--configure", "-a")
}

// embedded unpacks the bootstrap that the plugin carries.
func embedded(t *testing.T, env *chain.Env, dir string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(env.Repo, "internal", "agents", "dist", "bootstrap_linux_"+runtime.GOARCH+".gz"))
	require.NoError(t, err, "run \"make generate\" first")
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(zip)
	require.NoError(t, err)
	file := filepath.Join(dir, "bootstrap")
	require.NoError(t, os.WriteFile(file, data, 0o755))
	return file
}

// enrol runs the stages as the boot hooks do, then the agent, until the boot
// script has run, and ends it.
func enrol(ctx context.Context, t *testing.T, m chroot.Machine, platform *chain.Platform) {
	t.Helper()
	for _, stage := range []string{"rightimage", "rightboot", "rightscale", "rightlink"} {
		run(ctx, t, m, "/opt/rightscale/bin/bootstrap", stage)
	}
	require.Regexp(t, `(?m)^enrolled +yes$`, run(ctx, t, m, "/opt/rightscale/bin/rightlink", "status"))

	agent := exec.CommandContext(ctx, "chroot", m.Root, "/opt/rightscale/bin/rightlink", "run")
	agent.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LOG_TO=stderr"}
	var log bytes.Buffer
	agent.Stdout, agent.Stderr = &log, &log
	require.NoError(t, agent.Start())
	err := platform.WaitState(ctx, "deb-1", "operational")
	stopped := agent.Process.Signal(syscall.SIGTERM)
	waited := agent.Wait()
	require.NoError(t, err, log.String())
	require.NoError(t, stopped)
	require.NoError(t, waited, log.String())
	audit, err := platform.AuditText(ctx, "deb-1")
	require.NoError(t, err)
	require.Contains(t, audit, "booted by a package")
}

func run(ctx context.Context, t *testing.T, m chroot.Machine, argv ...string) string {
	t.Helper()
	out, err := m.Run(ctx, argv...)
	require.NoError(t, err)
	return out
}

// listing is every path of the machine with what could have changed. What the
// package manager notes for itself is left out.
func listing(t *testing.T, m chroot.Machine) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(m.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, m.Root)
		switch name {
		case "/proc", "/dev", "/run", "/var/lib/dpkg", "/var/log", "/var/cache":
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %s", name, info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " " + target
		case info.Mode().IsRegular():
			line += fmt.Sprintf(" %d %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
		}
		out = append(out, line)
		return nil
	}))
	require.Greater(t, len(out), 5000, "the listing is complete")
	return out
}

// difference lists the lines that only one side has, marked - and +.
func difference(before, after []string) []string {
	seen := map[string]int{}
	for _, l := range before {
		seen[l]++
	}
	for _, l := range after {
		seen[l]--
	}
	var out []string
	for l, n := range seen {
		if n != 0 {
			out = append(out, fmt.Sprintf("%+d %s", -n, l))
		}
	}
	return out
}
