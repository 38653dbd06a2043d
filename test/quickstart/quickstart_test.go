// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package quickstart

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
	"github.com/rightimage/packer-plugin-rightimage/test/chroot"
)

// expected is what a run of each page prints, besides ending well.
func expected() map[string][]string {
	return map[string][]string{
		"quickstart-publish.md": {`(?m)^ami-[0-9a-f]+\tquickstart-[0-9]+$`, `quickstart-by-hand`, `"us-east-1"`, `"eu-west-1"`},
		"quickstart-image.md":   {`(?m)^removed /opt/rightscale/bin/bootstrap$`},
		"quickstart-fleet.md":   {`operational`, `Completed: Say hello`, `(?m)^web-1 .*inactive`},
		"quickstart-launch.md":  {`dormant`, `(?m)^removed /opt/rightscale/bin/bootstrap$`},
	}
}

// A newcomer's run of each quick start works. "make test" boots the machine of one
// of them; a full run boots those of all, and makes everything from a clone. Since
// base disks are made of packages from an archive, it has this machine's network,
// and runs one page at a time.
func TestQuickStarts(t *testing.T) {
	mode := os.Getenv("RIGHTIMAGE_E2E")
	if mode == "" {
		t.Skip("builds images and boots machines; set RIGHTIMAGE_E2E=1 or use 'make test'")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network of its own")
	}
	s := surroundings(t, mode == "full")
	for _, page := range pages(t) {
		name := filepath.Base(page)
		t.Run(name, func(t *testing.T) {
			if name == "quickstart-launch.md" && !s.Full {
				t.Skip("boots a second machine; set RIGHTIMAGE_E2E=full or use 'make test-full'")
			}
			if !s.Full {
				t.Parallel()
			}
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			blocks, err := Blocks(string(text))
			require.NoError(t, err)
			out := run(t, s, name, blocks)
			for _, want := range expected()[name] {
				require.Regexp(t, want, out)
			}
			if s.Full && name == "quickstart-publish.md" {
				require.Regexp(t, `(?m)^quickstart-public$`, out)
			}
		})
	}
}

// surroundings finds what "make test" has built.
func surroundings(t *testing.T, full bool) Surroundings {
	t.Helper()
	env, err := chain.New("quickstart", os.Stderr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, env.Close()) })
	base := os.Getenv("RIGHTIMAGE_BASE_DISK")
	if base == "" {
		base, err = env.BaseDisk(t.Context(), chain.Systemd)
		require.NoError(t, err)
	}
	for _, program := range []string{env.Bin("rightimage"), env.Bin("rightscaled"), env.Bin("packer-plugin-rightimage"), filepath.Join(env.Cache, "bin", "packer")} {
		require.FileExists(t, program, "run \"make dev\" first")
	}
	return Surroundings{Repo: env.Repo, Cache: env.Cache, Base: base, Full: full}
}

// run runs a page, in a machine of the reader's where it needs one, and returns
// what it printed.
func run(t *testing.T, s Surroundings, name string, blocks []Block) (out string) {
	t.Helper()
	needs := false
	for _, b := range blocks {
		needs = needs || b.Kind == OnMachine
	}
	if !needs {
		return shell(t, s, name, blocks)
	}
	require.NoError(t, chroot.With(t.Context(), s.Base, func(m chroot.Machine) error {
		s.Machine = m.Root
		if err := m.Put(filepath.Join(s.Repo, "bin", "rightimage"), "/usr/local/bin/rightimage", 0o755); err != nil {
			return err
		}
		out = shell(t, s, name, blocks)
		_, err := os.Stat(m.Path("/opt/rightscale"))
		require.ErrorIs(t, err, os.ErrNotExist, "everything is removed again")
		return nil
	}))
	return out
}

// ownNamespaces begins a page. Mounts of disks that others work on are copied
// into a new namespace, where they would keep the disks busy; the page's own
// machine ($1) stays.
const ownNamespaces = `ip link set lo up
while read -r device dir rest; do
	case $device:$dir in
	*:"${1:-none}" | *:"${1:-none}"/*) ;;
	/dev/loop*) umount --lazy "$dir" ;;
	esac
done </proc/self/mounts
exec bash "$0"`

// shell runs a script with a home, a folder and processes of its own, so that what
// it started is gone when it ends, and but for a full run with a network of its own,
// where its ports are free.
func shell(t *testing.T, s Surroundings, name string, blocks []Block) string {
	t.Helper()
	// Sockets lie below it, and their paths must be short.
	home, err := os.MkdirTemp("", "qs-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(home)) })
	work := filepath.Join(home, "work")
	require.NoError(t, os.Mkdir(work, 0o755))
	script := filepath.Join(home, "script")
	require.NoError(t, os.WriteFile(script, []byte(s.Script(name, blocks)), 0o600))
	if s.Full {
		config := "[url \"" + s.Repo + "\"]\n\tinsteadOf = https://github.com/rightimage/packer-plugin-rightimage\n[safe]\n\tdirectory = *\n"
		require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	own := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if !s.Full {
		own = append(own, "--net")
	}
	cmd := exec.CommandContext(ctx, "unshare", append(own, "sh", "-c", ownNamespaces, script, s.Machine)...)
	cmd.Dir = work
	cmd.Env = environment(t, home, s)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	err = cmd.Run()
	log := filepath.Join(s.Cache, "logs", "quickstart", name+".log")
	require.NoError(t, os.WriteFile(log, out.Bytes(), 0o644))
	require.NoError(t, err, "%s; the whole output is in %s; its end:\n%s\n%s", name, log, tail(out.String()), serverLogs(work))
	t.Logf("%s took %s", name, time.Since(begin).Round(time.Second))
	return out.String()
}

// environment is that of a new login, and of Go's caches: nothing is fetched.
func environment(t *testing.T, home string, s Surroundings) []string {
	t.Helper()
	env := []string{
		"HOME=" + home, "PATH=" + filepath.Join(s.Cache, "bin") + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "LC_ALL=C.UTF-8",
		"CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1", "AWS_EC2_METADATA_DISABLED=true", "CACHE=" + s.Cache,
	}
	for _, name := range []string{"GOPATH", "GOMODCACHE", "GOCACHE", "GOFLAGS", "GOTOOLCHAIN"} {
		out, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return append(env, "GOPROXY=off")
}

func tail(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// serverLogs are what the page's own servers wrote.
func serverLogs(work string) string {
	var b strings.Builder
	for _, pattern := range []string{"*/*.log", "*.log"} {
		list, _ := filepath.Glob(filepath.Join(work, pattern)) // the pattern is a good one
		for _, file := range list {
			if text, err := os.ReadFile(file); err == nil {
				b.WriteString("-- " + filepath.Base(file) + "\n" + tail(string(text)) + "\n")
			}
		}
	}
	return b.String()
}
