// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
)

// bench is a real Packer with the real plugin, in directories of its own.
type bench struct {
	dir    string
	packer string
	env    []string
}

// template builds with one shell provisioner; the variable cmd is its command.
const template = `
variable "input" { type = string }
variable "cmd" { default = "true" }
source "rightimage-disk" "t" {
  iso_url          = var.input
  iso_checksum     = "none"
  output_directory = "out"
}
build {
  sources = ["source.rightimage-disk.t"]
  provisioner "shell" {
    inline = [var.cmd]
  }
}
`

// newBench builds the plugin and installs it. The tests of one run share it.
func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Getenv("RIGHTIMAGE_E2E") == "" {
		t.Skip("set RIGHTIMAGE_E2E=1 to run Packer")
	}
	needRoot(t)
	needTools(t, "go")
	b := &bench{dir: t.TempDir(), packer: findPacker(t)}
	state := t.TempDir()
	b.env = append(os.Environ(),
		"PACKER_CONFIG_DIR="+state, "PACKER_PLUGIN_PATH="+state+"/plugins", "PACKER_CACHE_DIR="+state+"/cache",
		"CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1", "TMPDIR="+b.dir)
	plugin := filepath.Join(t.TempDir(), "packer-plugin-rightimage")
	out, err := exec.Command("go", "build", "-o", plugin, "../..").CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := b.run("plugins", "install", "--path", plugin, "github.com/rightimage/rightimage")
	require.NoError(t, err, text)
	b.write(t, "t.pkr.hcl", template)
	return b
}

func findPacker(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("PACKER"), "../../.cache/bin/packer"} {
		if abs, err := filepath.Abs(p); p != "" && err == nil {
			if _, err := os.Stat(abs); err == nil {
				return abs
			}
		}
	}
	p, err := exec.LookPath("packer")
	if err != nil {
		t.Skip("there is no packer: set PACKER, or run make dev")
	}
	return p
}

func (b *bench) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600))
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.packer, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	return cmd
}

func (b *bench) run(args ...string) (string, error) {
	out, err := b.command(args...).CombinedOutput()
	return string(out), err
}

// clean checks that a build left no mount, loop device or file behind, but for
// the named ones.
func (b *bench) clean(t *testing.T, files ...string) {
	t.Helper()
	nothingLeft(t, b.dir)
	var left []string
	entries, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".pkr.hcl") && !strings.HasSuffix(e.Name(), ".json") {
			left = append(left, e.Name())
		}
	}
	require.ElementsMatch(t, files, left)
}

// buffer is written by a command and read by the test at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestPacker(t *testing.T) {
	b := newBench(t)
	disk := makeDisk(t, "gpt", part{size: 4, kind: "21686148-6449-6E6F-744E-656564454649", fill: "true"}, part{size: 48, tree: system(t, "busy")})
	build := func(cmd string, more ...string) []string {
		return append(append([]string{"build", "-var", "input=" + disk}, more...), "-var", "cmd="+cmd, "t.pkr.hcl")
	}

	t.Run("validate names every problem", func(t *testing.T) {
		b.write(t, "bad.json", `{"builders": [{"type": "rightimage-disk", "iso_ulr": "x", "disk_size": "0", "command_wrapper": "sudo", "regions": ["us-east-1"]}]}`)
		out, err := b.run("validate", "bad.json")
		require.Error(t, err)
		for _, option := range []string{"iso_ulr", "iso_url:", "iso_checksum:", "disk_size:", "command_wrapper:", "ami_name"} {
			require.Contains(t, out, option)
		}
	})
	t.Run("wrong disk", func(t *testing.T) {
		b.write(t, "junk.pkr.hcl", strings.ReplaceAll(template, `"out"`, `"junk"`))
		junk := filepath.Join(t.TempDir(), "junk")
		require.NoError(t, os.WriteFile(junk, bytes.Repeat([]byte("junk"), 100000), 0o600))
		out, err := b.run("build", "-var", "input="+junk, "junk.pkr.hcl")
		require.Error(t, err)
		require.Contains(t, out, "no root file system found")
		b.clean(t)
	})
	t.Run("download", func(t *testing.T) { downloads(t, b, disk) })
	t.Run("unreachable endpoint", func(t *testing.T) {
		b.write(t, "cloud.pkr.hcl", strings.ReplaceAll(template, `iso_checksum     = "none"`, `iso_checksum = "none"
			regions = ["us-east-1"]
			ami_name = "a name"
			endpoint_url = "http://127.0.0.1:1"
			access_key = "AKIATEST"
			secret_key = "very-secret-value"
			max_retries = 1
			undo_timeout = "10s"`))
		out, err := b.run("build", "-var", "input="+disk, "cloud.pkr.hcl")
		require.Error(t, err)
		require.Contains(t, out, "127.0.0.1:1")
		require.NotContains(t, out, "very-secret-value")
		b.clean(t)
	})
	t.Run("failing provisioner", func(t *testing.T) {
		out, err := b.run(build("sleep 1000 & exit 7")...)
		require.Error(t, err)
		require.Contains(t, out, "exit status: 7")
		b.clean(t)
	})
	t.Run("full image", func(t *testing.T) {
		out, err := b.run(build("dd if=/dev/zero of=/root/big bs=1M count=100")...)
		require.Error(t, err)
		require.Contains(t, out, "No space left on device")
		b.clean(t)
	})
	for name, cmd := range map[string]string{
		"interrupted":                    "echo now-running; sleep 1000",
		"interrupted, signals ignored":   "trap '' TERM INT HUP; echo now-running; while :; do sleep 1; done",
		"interrupted, daemon left alone": "(setsid sleep 1000 &) ; echo now-running; sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			c := b.command(build(cmd)...)
			var out buffer
			c.Stdout, c.Stderr = &out, &out
			c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			t.Cleanup(func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
			require.NoError(t, c.Start())
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "t: now-running") }, 2*time.Minute, 50*time.Millisecond, "%s", &out)
			// Packer wraps itself; like a terminal, interrupt all of its processes.
			require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGINT))
			require.Error(t, c.Wait())
			b.clean(t)
		})
	}
	t.Run("packer is killed", func(t *testing.T) {
		c := b.command(build("echo now-running; sleep 1000")...)
		var out buffer
		c.Stdout, c.Stderr = &out, &out
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, c.Start())
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "t: now-running") }, 2*time.Minute, 50*time.Millisecond, "%s", &out)
		// Every process of Packer's own, but not the plugin.
		sh(t, `for p in $(pgrep -g "$1"); do case $(readlink /proc/$p/exe) in "$(realpath "$2")") kill -KILL $p ;; esac; done`, strconv.Itoa(c.Process.Pid), b.packer)
		_ = c.Wait()
		require.Eventually(t, func() bool { return sh(t, `pgrep -g "$1" || true`, strconv.Itoa(c.Process.Pid)) == "" }, 2*time.Minute, 200*time.Millisecond)
		nothingLeft(t, b.dir)
		require.NoDirExists(t, filepath.Join(b.dir, "out"))
		sh(t, `cd "$1" && rm -rf packer-*`, b.dir)
	})
	t.Run("everything is killed", func(t *testing.T) {
		c := b.command(build("echo now-running; sleep 1000")...)
		var out buffer
		c.Stdout, c.Stderr = &out, &out
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, c.Start())
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "t: now-running") }, 2*time.Minute, 50*time.Millisecond, "%s", &out)
		require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
		// What runs in the chroot lives on; it must not hold Packer's output.
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("something still holds the output of the killed Packer")
		}
		mounts, err := mountsBelow(b.dir)
		require.NoError(t, err)
		require.NotEmpty(t, mounts, "nobody could unmount them")
		text, err := b.run(build("exit 3")...)
		require.Error(t, err)
		require.Contains(t, text, "Clearing away what a killed build left")
		require.NotContains(t, text, "left behind")
		nothingLeft(t, b.dir)
		sh(t, `cd "$1" && rm -rf packer-* && rmdir out`, b.dir)
	})
	t.Run("success", func(t *testing.T) {
		out, err := b.run(build(`echo hello > /root/made; [ "$(/usr/sbin/policy-rc.d; echo $?)" = 101 ]; [ -f /etc/resolv.conf ]; [ -e /dev/pts/ptmx ]; (setsid sleep 1000 &)`)...)
		require.NoError(t, err, out)
		b.clean(t, "out")
		checkOutput(t, filepath.Join(b.dir, "out"))
	})
	t.Run("existing output", func(t *testing.T) {
		out, err := b.run(build("true")...)
		require.Error(t, err)
		require.Contains(t, out, "-force")
		before := sh(t, `sha256sum "$1/out/"*`, b.dir)
		out, err = b.run(build("false", "-force")...)
		require.Error(t, err, out)
		require.Equal(t, before, sh(t, `sha256sum "$1/out/"*`, b.dir), "a failed build keeps the old disk")
		out, err = b.run(build("true", "-force")...)
		require.NoError(t, err, out)
		require.NotEqual(t, before, sh(t, `sha256sum "$1/out/"*`, b.dir))
		b.clean(t, "out")
	})
}

// downloads builds from a disk behind HTTP.
func downloads(t *testing.T, b *bench, disk string) {
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(disk))))
	defer server.Close()
	sum := strings.Fields(sh(t, `sha256sum "$1"`, disk))[0]
	text := strings.ReplaceAll(template, `iso_checksum     = "none"`, `iso_checksum = var.sum`) + `variable "sum" { type = string }`
	b.write(t, "http.pkr.hcl", strings.ReplaceAll(text, `"out"`, `"http-out"`))
	args := func(sum string) []string {
		return []string{"build", "-var", "input=" + server.URL + "/disk.raw", "-var", "sum=" + sum, "http.pkr.hcl"}
	}
	out, err := b.run(args("none")...)
	require.Error(t, err)
	require.Contains(t, out, "local disks only")

	wrong := strings.Repeat("0", len(sum))
	out, err = b.run(args(wrong)...)
	require.Error(t, err)
	require.Contains(t, out, wrong)
	b.clean(t)

	out, err = b.run(args("sha256:" + sum)...)
	require.NoError(t, err, out)
	b.clean(t, "http-out")
	require.NoError(t, os.RemoveAll(filepath.Join(b.dir, "http-out")))
}

// checkOutput looks into the finished disk.
func checkOutput(t *testing.T, dir string) {
	t.Helper()
	var c catalogue.Entry
	data, err := os.ReadFile(filepath.Join(dir, catalogueName))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &c))
	require.Equal(t, "busy", c.OS.ID)
	require.Equal(t, c.Disk.SHA256, strings.Fields(sh(t, `sha256sum "$1/t.raw"`, dir))[0])
	require.Equal(t, []string{catalogueName, "t.raw", "t.raw.blocklist", "t.raw.provenance.json", "t.raw.sbom.cdx.json"}, strings.Fields(sh(t, `ls -A "$1"`, dir)))

	mnt := t.TempDir()
	sh(t, `mount -o loop,ro,offset=$((5 * 1024 * 1024)) "$1/t.raw" "$2"`, dir, mnt)
	defer sh(t, `umount "$1"`, mnt)
	require.Equal(t, "hello", sh(t, `cat "$1/root/made"`, mnt))
	require.Equal(t, "../run/resolv.conf", sh(t, `readlink "$1/etc/resolv.conf"`, mnt))
	require.NoFileExists(t, filepath.Join(mnt, "usr/sbin/policy-rc.d"))
	require.Equal(t, "", sh(t, `ls -A "$1/run" "$1/dev" "$1/proc" | grep -v : || true`, mnt))
}
