// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

func rootWrapper() wrapper { return wrapper{template: defaultRootWrapper, exec: run.Exec{}} }

func TestLoansAreTakenBack(t *testing.T) {
	dir := t.TempDir()
	sh(t, `cd "$1"; mkdir -p etc usr/sbin; ln -s ../run/resolv.conf etc/resolv.conf; echo own > usr/sbin/policy-rc.d; chmod 755 usr/sbin/policy-rc.d`, dir)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, []byte("lent\n"), 0o644))
	list := `cd "$1"; find . -printf '%P %y %m %l %TY%Tm%Td%TH%TM%.6TS\n' | sort; cat usr/sbin/policy-rc.d`
	before := sh(t, list, dir)

	l := &loans{root: rootWrapper(), dir: dir, say: func(string) {}}
	ctx := context.Background()
	for _, path := range []string{"/etc/resolv.conf", "/usr/sbin/policy-rc.d", "/etc/new"} {
		require.NoError(t, l.lend(ctx, source, path))
		data, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, "lent\n", string(data))
	}
	require.NoError(t, l.takeBack(ctx))
	require.Equal(t, before, sh(t, list, dir))
}

func TestChangedLoansStay(t *testing.T) {
	dir := t.TempDir()
	sh(t, `cd "$1"; mkdir etc; echo own > etc/a; echo own > etc/b; echo own > etc/c`, dir)
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, []byte("lent\n"), 0o644))
	var said []string
	l := &loans{root: rootWrapper(), dir: dir, say: func(s string) { said = append(said, s) }}
	ctx := context.Background()
	for _, path := range []string{"/etc/a", "/etc/b", "/etc/c"} {
		require.NoError(t, l.lend(ctx, source, path))
	}
	sh(t, `cd "$1"; echo new > etc/a; rm etc/b; rm etc/c; ln -s elsewhere etc/c`, dir)
	require.NoError(t, l.takeBack(ctx))
	require.Equal(t, "a new\nb own\nc elsewhere", sh(t, `cd "$1/etc"; echo "a $(cat a)"; echo "b $(cat b)"; echo "c $(readlink c)"; [ -z "$(find . -name '*saved')" ]`, dir))
	require.Len(t, said, 2)
}

func TestLoansStayInsideTheImage(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "etc")))
	source := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.WriteFile(source, nil, 0o644))
	l := &loans{root: rootWrapper(), dir: dir}
	require.Error(t, l.lend(context.Background(), source, "/etc/resolv.conf"))
	files, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, files)
}

func TestParseMounts(t *testing.T) {
	const info = `22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 7:0 / /out/root\040x rw - ext4 /dev/loop0 rw
31 30 0:5 / /out/root\040x/dev rw - devtmpfs udev rw
32 22 7:1 / /out/root\040xy rw - ext4 /dev/loop1 rw
33 31 0:6 / /out/root\040x/dev/pts rw - devpts devpts rw
`
	got, err := parseMounts(strings.NewReader(info), "/out/root x")
	require.NoError(t, err)
	require.Equal(t, []string{"/out/root x/dev/pts", "/out/root x/dev", "/out/root x"}, got)
}

func TestParseProcesses(t *testing.T) {
	const text = "/proc/1 /\n/proc/7 /out/root\n/proc/7 /out/root/tmp x\n/proc/8 /out/rooted\n/proc/9 /out/root/a\n/proc/10\n"
	require.Equal(t, []string{"7", "9"}, parseProcesses(text, "/out/root"))
}

func TestWrapperQuotes(t *testing.T) {
	w := wrapper{template: "env FOO=1 {{.Command}}", exec: run.Exec{}}
	hostile := "a'b $(id) `id` \"x\" \\ {{.Command}}"
	out, err := w.Run(context.Background(), "printf", "%s", hostile)
	require.NoError(t, err)
	require.Equal(t, hostile, out)
}

// chrootIn returns a communicator for a busybox system.
func chrootIn(t *testing.T, ctx context.Context, template string) (*communicator, string) {
	t.Helper()
	needRoot(t)
	tree := system(t, "busy")
	return newCommunicator(ctx, tree, wrapper{template: template, exec: run.Exec{}}), tree
}

func runIn(t *testing.T, c *communicator, command string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: command, Stdout: &out}
	require.NoError(t, c.Start(context.Background(), cmd))
	code := cmd.Wait()
	return out.String(), code
}

func TestCommunicator(t *testing.T) {
	for _, template := range []string{defaultRootWrapper, "env X=1 {{.Command}}"} {
		c, tree := chrootIn(t, context.Background(), template)
		t.Setenv("SECRET_OF_THE_HOST", "1")

		// Nothing of a command is expanded outside of the chroot.
		out, code := runIn(t, c, `cat /etc/os-release | head -n 1; echo "$HOME" '$HOME' $(ls /etc/os-release) "it's"; env | grep SECRET; exit 3`)
		require.Equal(t, "ID=busy\n/root $HOME /etc/os-release it's\n", out)
		require.Equal(t, 3, code)

		require.NoError(t, c.Upload("/root/a b", strings.NewReader("content"), nil))
		var back bytes.Buffer
		require.NoError(t, c.Download("/root/a b", &back))
		require.Equal(t, "content", back.String())
		require.ErrorContains(t, c.Download("/root/none", &back), "download /root/none")

		// An absolute link means a place in the chroot, not on this machine.
		require.NoError(t, os.Symlink("/etc/target", filepath.Join(tree, "etc/link")))
		require.NoError(t, c.Upload("/etc/link", strings.NewReader("x"), nil))
		require.FileExists(t, filepath.Join(tree, "etc/target"))

		src := t.TempDir()
		sh(t, `mkdir "$1/sub"; echo 1 > "$1/sub/f"`, src)
		require.NoError(t, c.UploadDir("/root/dst", src+"/", nil))
		require.FileExists(t, filepath.Join(tree, "root/dst/sub/f"))
		require.NoError(t, c.UploadDir("/root/dst", src, nil))
		require.FileExists(t, filepath.Join(tree, "root/dst", filepath.Base(src), "sub/f"))
		dst := filepath.Join(t.TempDir(), "new")
		require.NoError(t, c.DownloadDir("/root/dst", dst, nil))
		require.FileExists(t, filepath.Join(dst, "sub/f"))
	}
}

func TestCancelledBuildEndsCommands(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c, _ := chrootIn(t, ctx, defaultRootWrapper)
	cmd := &packersdk.RemoteCmd{Command: "sleep 1000 & sleep 1000"}
	require.NoError(t, c.Start(context.Background(), cmd))
	time.Sleep(100 * time.Millisecond)
	cancel()
	start := time.Now()
	require.NotZero(t, cmd.Wait())
	require.Less(t, time.Since(start), 5*time.Second)

	c.close(time.Second)
	require.ErrorIs(t, c.Start(context.Background(), cmd), errClosed)
}

func TestAttachmentClosesABusyMount(t *testing.T) {
	needRoot(t)
	disk := makeDisk(t, "gpt", part{size: 48, tree: system(t, "busy")})
	_, all, err := scan(disk)
	require.NoError(t, err)
	dir := filepath.Join(filepath.Dir(disk), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o755))
	a := &attachment{root: rootWrapper(), disk: disk, dir: dir}
	ctx := context.Background()
	require.NoError(t, a.loop(ctx, all[0]))
	require.NoError(t, a.mount(ctx, all[0], "rw"))
	require.NoError(t, a.bind(ctx, "proc", "proc", "/proc"))
	require.NoError(t, a.bind(ctx, "bind", "/dev", "/dev"))

	c := newCommunicator(ctx, dir, rootWrapper())
	cmd := &packersdk.RemoteCmd{Command: "trap '' TERM; cd /root; sleep 1000"}
	require.NoError(t, c.Start(ctx, cmd))
	time.Sleep(100 * time.Millisecond)

	require.NoError(t, a.close(ctx))
	require.False(t, a.lazy)
	cmd.Wait()
	nothingLeft(t, filepath.Dir(disk))
	require.NoDirExists(t, dir)
	require.NoError(t, a.close(ctx), "closing again is harmless")
}

func TestHaltAlwaysLeavesAnError(t *testing.T) {
	f := &flow{config: &Config{}, user: run.Exec{}, root: rootWrapper()}
	f.config.Region = "us-east-1"
	for _, one := range f.steps() {
		a, ok := one.(*step.Action)
		if !ok || a.What == "check this machine" || a.What == "prepare output_directory" {
			continue
		}
		state := new(multistep.BasicStateBag)
		state.Put("ui", quietUI())
		a.Run(context.Background(), state)
		a.Cleanup(state)
		require.Error(t, state.Get("error").(error), a.What)
	}
}
