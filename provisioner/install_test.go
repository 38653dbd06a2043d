// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/agents"
	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
)

// treeGuest is a guest whose root is a directory: scripts run in this machine's
// shell, with the absolute paths of the product moved below the directory.
type treeGuest struct {
	root    string
	uploads []string
	fail    string // scripts that contain it fail
}

func (g *treeGuest) move(script string) string {
	for _, dir := range []string{"/opt/rightscale", "/etc/rightscale.d", "/root/.", "/var/spool", "/etc/systemd", "/etc/init.d", "/etc/rc", "/etc/os-release"} {
		script = strings.ReplaceAll(script, dir, g.root+dir)
	}
	return strings.ReplaceAll(script, "'/opt'", "'"+g.root+"/opt'")
}

func (g *treeGuest) Run(ctx context.Context, script string) (Output, error) {
	if g.fail != "" && strings.Contains(script, g.fail) {
		return Output{Code: 1, Stderr: "no luck"}, nil
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", g.move(script))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Output{}, err
	}
	text := strings.ReplaceAll(stdout.String(), g.root, "")
	if os.Geteuid() != 0 {
		text = strings.ReplaceAll(text, fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid()), "0:0")
	}
	return Output{Stdout: text, Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

func (g *treeGuest) Upload(_ context.Context, path string, r io.Reader, mode uint32) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	g.uploads = append(g.uploads, path)
	path = filepath.Join(g.root, path)
	_ = os.Remove(path)
	return errors.Join(os.WriteFile(path, data, os.FileMode(mode)), os.Chmod(path, os.FileMode(mode)))
}

func newGuest(t *testing.T) *treeGuest {
	t.Helper()
	g := &treeGuest{root: t.TempDir()}
	for _, d := range []string{"etc/systemd/system", "root", "var/spool", "opt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(g.root, d), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(g.root, "etc/os-release"), []byte("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"), 0o600))
	return g
}

// fakeAgents has a bootstrap that registers one hook.
type fakeAgents struct{ version string }

func (a fakeAgents) Bootstrap(string) ([]byte, error) {
	return []byte("#!/bin/sh\n# " + a.version + "\nd=$(dirname $0)/../../../etc/systemd/system\n[ \"$*\" = 'register --image' ] && echo unit > $d/rightimage.service && echo registered\n"), nil
}

func (a fakeAgents) Packages(arch string) ([]Package, error) {
	return []Package{
		{Name: "rightlink_" + a.version + "_" + arch + ".deb", Data: []byte("deb")},
		{Name: "rightlink_" + a.version + "_" + arch + ".rpm", Data: []byte("rpm")},
		{Name: "rightlink_" + a.version + "_" + arch + ".tar.gz", Data: []byte("tar")},
	}, nil
}

type says []string

func (s *says) Say(m string) { *s = append(*s, m) }

func options(t *testing.T, set map[string]any) Config {
	t.Helper()
	var p Provisioner
	require.NoError(t, p.Prepare(map[string]any{"packer_build_name": "demo"}, set))
	return p.config
}

func TestInstallAndAgain(t *testing.T) {
	cert, _ := certificates(t)
	g := newGuest(t)
	c := options(t, map[string]any{"platform_ca_file": write(t, "ca", cert), "login_user": "admin"})
	var ui says
	ctx := context.Background()
	changes, err := Install(ctx, g, fakeAgents{"1.2.3"}, c, &ui)
	require.NoError(t, err)
	text := strings.Join(changes, "\n")
	for _, want := range []string{
		"file /opt/rightscale/bin/bootstrap", "file /etc/rightscale.d/cloud", "file /etc/rightscale.d/rightscale-release",
		"file /etc/rightscale.d/rightimage-release.js", "file /etc/rightscale.d/ca.pem", "file /etc/rightscale.d/login-user",
		"file /root/.rightscale/rightlink_1.2.3_", ".sha256", "directory /var/spool/cloud", "link /var/spool/ec2",
		"hook /etc/systemd/system/rightimage.service",
	} {
		require.Contains(t, text, want)
	}
	at := func(p string) string {
		data, err := os.ReadFile(filepath.Join(g.root, p))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "ec2\n", at("etc/rightscale.d/cloud"))
	require.Equal(t, "1.2.3", at("etc/rightscale.d/rightscale-release"), "without a newline")
	require.Contains(t, at("etc/rightscale.d/rightimage-release.js"), `"build-id": "demo"`)
	info, err := os.Stat(filepath.Join(g.root, "root/.rightscale"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	out, err := exec.Command("sh", "-c", `cd "$1/root/.rightscale" && sha256sum -c *.sha256`, "sh", g.root).CombinedOutput()
	require.NoError(t, err, string(out))

	// The build date of the first run stays.
	release := filepath.Join(g.root, "etc/rightscale.d/rightimage-release.js")
	old := strings.Replace(at("etc/rightscale.d/rightimage-release.js"), `"build-date": "2`, `"build-date": "1`, 1)
	require.NoError(t, os.WriteFile(release, []byte(old), 0o600))
	g.uploads = nil
	changes, err = Install(ctx, g, fakeAgents{"1.2.3"}, c, &ui)
	require.NoError(t, err)
	require.Empty(t, changes, "a second run changes nothing")
	require.Empty(t, g.uploads)

	// A new version changes what depends on it; a wrong mode is put right.
	require.NoError(t, os.Chmod(filepath.Join(g.root, "etc/rightscale.d/cloud"), 0o666))
	changes, err = Install(ctx, g, fakeAgents{"1.2.4"}, c, &ui)
	require.NoError(t, err)
	require.Len(t, changes, 6, "%v", changes)
}

// With SOURCE_DATE_EPOCH the day on which an image is built does not show.
func TestBuildDate(t *testing.T) {
	date := func() string {
		f, err := releaseFile(options(t, nil), "1.2.3")
		require.NoError(t, err)
		var r release
		require.NoError(t, json.Unmarshal(f.data, &r))
		return r.BuildDate
	}
	require.Regexp(t, "^20[0-9]{6}$", date())
	t.Setenv(sourcedate.Variable, "1700000000")
	require.Equal(t, "20231114", date())

	t.Setenv(sourcedate.Variable, "yesterday")
	_, err := releaseFile(options(t, nil), "1.2.3")
	require.ErrorContains(t, err, sourcedate.Variable)
}

func TestInstallVariants(t *testing.T) {
	for name, tc := range map[string]struct {
		set     map[string]any
		agents  Agents
		fail    string
		lacks   string
		wantErr string
	}{
		"none has no link":     {set: map[string]any{"cloud": "none"}, lacks: "var/spool/ec2"},
		"no cache":             {set: map[string]any{"skip_package_cache": true}, lacks: "root/.rightscale"},
		"other version":        {set: map[string]any{"rightlink_version": "9"}, lacks: "root/.rightscale/rightlink_1.2.3_amd64.deb"},
		"nothing to install":   {set: map[string]any{"rightlink_version": "9", "mode": "preinstalled"}, wantErr: "no RightLink package of version 9"},
		"no agents":            {agents: missing{}, wantErr: "make generate"},
		"register fails":       {fail: "register --image", wantErr: "register the boot hooks: exit status 1: no luck"},
		"inventory fails":      {fail: "sha256sum", wantErr: "look at the guest's files"},
		"recognition fails":    {fail: "uname", wantErr: "recognise the guest"},
		"directory impossible": {fail: "mkdir", wantErr: "make directory /opt/rightscale"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t)
			g.fail = tc.fail
			a := tc.agents
			if a == nil {
				a = fakeAgents{"1.2.3"}
			}
			var ui says
			_, err := Install(context.Background(), g, a, options(t, tc.set), &ui)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.NoFileExists(t, filepath.Join(g.root, tc.lacks))
		})
	}
}

// missing is a plugin that was built without agents.
type missing struct{}

func (missing) Bootstrap(string) ([]byte, error)   { return nil, agents.ErrNotEmbedded }
func (missing) Packages(string) ([]Package, error) { return nil, agents.ErrNotEmbedded }

func TestParseFacts(t *testing.T) {
	f := parseFacts("machine=aarch64\nos.ID=\"ubuntu\"\nos.PRETTY_NAME=\"Ubuntu 24.04\"\ninit=systemd\ndpkg=yes\nfree=/dev/loop0 100 60 40 60% /\n")
	require.Equal(t, "aarch64", f.Machine)
	require.Equal(t, "ubuntu", f.OS["ID"])
	require.True(t, f.Dpkg)
	require.True(t, parseFacts("rpm=yes\n").RPM)
	require.EqualValues(t, 40, f.FreeKiB)
	require.EqualValues(t, -1, parseFacts("free=\n").FreeKiB)
}

// TestNativePackage: each kind of system gets the package of its own manager.
func TestNativePackage(t *testing.T) {
	for want, f := range map[string]facts{"deb": {Arch: "amd64", Dpkg: true}, "rpm": {Arch: "amd64", RPM: true}, "tar.gz": {Arch: "arm64"}} {
		var ui says
		got, version, err := choosePackages(f, fakeAgents{"1.2.3"}, options(t, nil), &ui)
		require.NoError(t, err)
		require.Equal(t, "1.2.3", version)
		require.Len(t, got, 1)
		require.Equal(t, "rightlink_1.2.3_"+f.Arch+"."+want, got[0].Name)
	}
}

func TestCheckFree(t *testing.T) {
	todo := []file{{data: make([]byte, 10<<20)}}
	require.ErrorContains(t, checkFree(todo, 20<<10), "28 MiB are needed and 20 MiB are free")
	require.NoError(t, checkFree(todo, 30<<10))
	require.NoError(t, checkFree(nil, 0))
	require.NoError(t, checkFree(todo, -1))
}

// localComm runs commands on this machine, as a communicator does in a guest.
type localComm struct {
	packersdk.Communicator
	env []string
}

func (c localComm) Start(ctx context.Context, r *packersdk.RemoteCmd) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", r.Command)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = r.Stdout, r.Stderr
	go func() {
		_ = cmd.Run()
		r.SetExited(cmd.ProcessState.ExitCode())
	}()
	return nil
}

func (localComm) Upload(path string, r io.Reader, _ *os.FileInfo) error {
	data, err := io.ReadAll(r)
	return errors.Join(err, os.WriteFile(path, data, 0o600))
}

func TestCommunicatorGuest(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of root need root")
	}
	dir := t.TempDir()
	ctx := context.Background()
	g, err := connect(ctx, localComm{}, 0)
	require.NoError(t, err)
	require.False(t, g.sudo)
	require.DirExists(t, g.tmp)

	path := filepath.Join(dir, "it's a file")
	require.NoError(t, g.Upload(ctx, path, strings.NewReader("x"), 0o640))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	require.ErrorContains(t, g.Upload(ctx, dir+"/no/where", strings.NewReader("x"), 0o640), "in the guest")

	out, err := g.Run(ctx, `echo "a  'b'" '$x'; exit 3`)
	require.NoError(t, err)
	require.Equal(t, Output{Stdout: "a  'b' $x\n", Code: 3}, out)

	require.NoError(t, g.close(ctx))
	require.NoDirExists(t, g.tmp)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing temporary stays")
}

func TestSudoIsFoundOut(t *testing.T) {
	bin := t.TempDir()
	// This id says 1000 until sudo has run.
	require.NoError(t, os.WriteFile(bin+"/id", []byte("#!/bin/sh\n[ -n \"$ROOT\" ] && echo 0 || echo 1000\n"), 0o755))
	require.NoError(t, os.WriteFile(bin+"/sudo", []byte("#!/bin/sh\n[ \"$1\" = -n ] && shift\nROOT=1 exec \"$@\"\n"), 0o755))
	comm := localComm{env: []string{"PATH=" + bin + ":" + os.Getenv("PATH")}}
	g, err := connect(context.Background(), comm, 0)
	require.NoError(t, err)
	require.True(t, g.sudo)
	require.NoError(t, g.close(context.Background()))

	require.NoError(t, os.WriteFile(bin+"/sudo", []byte("#!/bin/sh\necho 'sudo: a password is required' >&2; exit 1\n"), 0o755))
	_, err = connect(context.Background(), comm, 0)
	require.ErrorContains(t, err, "needs root in the guest")
	require.ErrorContains(t, err, "a password is required")
}
