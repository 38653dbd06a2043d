// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packages_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// script answers commands by their first words and notes all of them.
type script struct {
	argv    []string
	answers map[string]func() (string, error)
}

func (s *script) Run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{filepath.Base(name)}, args...), " ")
	s.argv = append(s.argv, line)
	for prefix, answer := range s.answers {
		if strings.HasPrefix(line, prefix) {
			return answer()
		}
	}
	return "", errors.New("unexpected: " + line)
}

func says(out string) func() (string, error) { return func() (string, error) { return out, nil } }

func put(t *testing.T, root, path string, text []byte) string {
	t.Helper()
	full := filepath.Join(root, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(t, os.WriteFile(full, text, 0o755))
	return full
}

// cached puts a package with its checksum into the cache.
func cached(t *testing.T, root, name string, data []byte) string {
	t.Helper()
	sum := sha256.Sum256(data)
	put(t, root, "root/.rightscale/"+name+".sha256", []byte(hex.EncodeToString(sum[:])+"  "+name+"\n"))
	return put(t, root, "root/.rightscale/"+name, data)
}

func debian() detect.Facts {
	return detect.Facts{Arch: "amd64", Seed: detect.Seed{Distro: "debian", BaseOS: "debian", OSVersion: "12", Suffix: "deb", Arch: "amd64"}}
}

func redhat() detect.Facts {
	return detect.Facts{Arch: "amd64", Seed: detect.Seed{Distro: "centos", BaseOS: "redhat", OSVersion: "9", Suffix: "rpm", Arch: "x86_64"}}
}

func TestWanted(t *testing.T) {
	root := t.TempDir()
	m := &packages.Manager{Root: root}
	_, err := m.Wanted("")
	require.ErrorIs(t, err, packages.ErrNoVersion)
	put(t, root, "etc/rightscale.d/rightscale-release", []byte("0.1.0\n"))
	v, err := m.Wanted("")
	require.NoError(t, err)
	require.Equal(t, "0.1.0", v)
	v, err = m.Wanted("0.2.0")
	require.NoError(t, err)
	require.Equal(t, "0.2.0", v, "user-data wins")
	put(t, root, "etc/rightscale.d/rightscale-release", []byte("../../x"))
	_, err = m.Wanted("")
	require.ErrorIs(t, err, packages.ErrNoVersion)
}

func TestChoose(t *testing.T) {
	for name, tc := range map[string]struct {
		facts detect.Facts
		files []string
		want  string
	}{
		"deb first":      {debian(), []string{"rightlink_1.0_amd64.tar.gz", "rightlink_1.0_amd64.deb"}, "rightlink_1.0_amd64.deb"},
		"old name":       {debian(), []string{"rightscale_1.0-debian_12-amd64.deb"}, "rightscale_1.0-debian_12-amd64.deb"},
		"tarball":        {debian(), []string{"rightlink_1.0_amd64.tar.gz"}, "rightlink_1.0_amd64.tar.gz"},
		"other versions": {debian(), []string{"rightlink_1.1_amd64.deb", "rightlink_1.0_arm64.deb"}, ""},
		"rpm":            {redhat(), []string{"rightlink_1.0_amd64.rpm", "rightlink_1.0_amd64.tar.gz"}, "rightlink_1.0_amd64.rpm"},
		"developer's":    {debian(), []string{"rightscale_1.0.tgz"}, "rightscale_1.0.tgz"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, "usr/bin/dpkg", nil)
			put(t, root, "usr/bin/rpm", nil)
			require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755))
			for _, f := range tc.files {
				put(t, root, "root/.rightscale/"+f, nil)
			}
			p, err := (&packages.Manager{Root: root, Facts: tc.facts}).Choose("1.0")
			if tc.want == "" {
				require.ErrorIs(t, err, packages.ErrNoPackage)
				require.ErrorContains(t, err, "rightlink_1.0_amd64.tar.gz", "the text names what was looked for")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, filepath.Base(p.Path))
		})
	}
}

func TestChecksum(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	put(t, root, "usr/bin/dpkg", nil)
	s := &script{answers: map[string]func() (string, error){"dpkg": says("")}}
	m := &packages.Manager{Root: root, Facts: debian(), Run: s}
	path := put(t, root, "root/.rightscale/rightlink_1.0_amd64.deb", []byte("x"))
	p := packages.Package{Path: path, Format: "deb"}
	require.ErrorIs(t, m.Install(ctx, p, "1.0"), packages.ErrChecksum)
	require.ErrorContains(t, m.Install(ctx, p, "1.0"), "sha256sum rightlink_1.0_amd64.deb", "the remedy")
	cached(t, root, "rightlink_1.0_amd64.deb", []byte("x"))
	require.NoError(t, m.Install(ctx, p, "1.0"))
	require.NoError(t, os.WriteFile(path, []byte("y"), 0o600))
	require.ErrorIs(t, m.Install(ctx, p, "1.0"), packages.ErrChecksum)
	require.NoError(t, os.WriteFile(path+".sha256", []byte("none\n"), 0o600))
	require.ErrorIs(t, m.Install(ctx, p, "1.0"), packages.ErrChecksum)
	require.Equal(t, []string{"dpkg --root=" + root + " -i " + path}, s.argv)
}

func TestDpkgLock(t *testing.T) {
	root, ctx := t.TempDir(), context.Background()
	put(t, root, "usr/bin/dpkg", nil)
	path := cached(t, root, "rightlink_1.0_amd64.deb", []byte("x"))
	locked := &run.Error{Argv: []string{"dpkg"}, Err: errors.New("exit status 2"), Stderr: "dpkg: error: dpkg frontend lock was locked by another process with pid 17"}
	tries := 0
	s := &script{answers: map[string]func() (string, error){"dpkg": func() (string, error) {
		if tries++; tries < 4 {
			return "", locked
		}
		return "", nil
	}}}
	clock := &wait.Fake{}
	m := &packages.Manager{Root: root, Facts: debian(), Run: s, Clock: clock}
	p := packages.Package{Path: path, Format: "deb"}
	require.NoError(t, m.Install(ctx, p, "1.0"))
	require.Equal(t, 4, tries)
	tries = -1000
	var timeout *wait.TimeoutError
	require.ErrorAs(t, m.Install(ctx, p, "1.0"), &timeout)
	s.answers["dpkg"] = func() (string, error) { return "", errors.New("exit status 1") }
	require.ErrorContains(t, m.Install(ctx, p, "1.0"), "exit status 1", "other errors are not waited for")
	holdLock(t, root)
	s.argv = nil
	m.LockWait = 10 * time.Second
	require.ErrorAs(t, m.Install(ctx, p, "1.0"), &timeout)
	require.Empty(t, s.argv, "while the lock is held dpkg is not even asked")
}

// holdLock lets another process hold dpkg's lock: a process never sees its own.
func holdLock(t *testing.T, root string) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	path := put(t, root, "var/lib/dpkg/lock-frontend", nil)
	cmd := exec.Command("python3", "-c", "import fcntl,sys,time\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\ntime.sleep(60)", path)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	_, err = out.Read(make([]byte, 8))
	require.NoError(t, err)
}

func TestInstalled(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		dpkg, status string
		statusErr    error
		record       string
		program      string
		want         string
	}{
		"not there":        {dpkg: "usr/bin/dpkg", status: ""},
		"deb":              {dpkg: "usr/bin/dpkg", status: "ii  0.1.0\n", program: "x", want: "0.1.0"},
		"deb on hold":      {dpkg: "bin/dpkg", status: "hi  0.1.0\n", program: "x", want: "0.1.0"},
		"deb half":         {dpkg: "usr/bin/dpkg", status: "iF  0.1.0\n", program: "x"},
		"removed":          {dpkg: "usr/bin/dpkg", status: "rc  0.1.0\n"},
		"tarball":          {record: `{"version":"0.1.0","files":["a"],"complete":true}`, program: "x", want: "0.1.0"},
		"tarball half":     {record: `{"version":"0.1.0","files":["a"]}`, program: "x"},
		"by hand":          {program: "x", want: "9.9"},
		"by hand, on dpkg": {dpkg: "usr/bin/dpkg", statusErr: errors.New("no packages found"), program: "x", want: "9.9"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if tc.dpkg != "" {
				put(t, root, tc.dpkg, nil)
			}
			if tc.program != "" {
				put(t, root, "opt/rightscale/bin/rightlink", nil)
			}
			if tc.record != "" {
				put(t, root, "var/lib/rightscale/tarball.json", []byte(tc.record))
			}
			s := &script{answers: map[string]func() (string, error){
				"dpkg-query":        func() (string, error) { return tc.status, tc.statusErr },
				"rightlink version": says("9.9\n"),
			}}
			got, err := (&packages.Manager{Root: root, Run: s}).Installed(ctx)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}
