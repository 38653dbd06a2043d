// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func input(t *testing.T, arch string) Input {
	binary := filepath.Join(t.TempDir(), "rightlink")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\necho agent\n"), 0o600)) // the package sets the mode
	return Input{Version: "0.1.0", Arch: arch, Binary: binary, Time: time.Unix(1_700_000_000, 0).UTC()}
}

func TestDeb(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	for _, arch := range []string{"amd64", "arm64"} {
		file := filepath.Join(t.TempDir(), FileName("0.1.0", arch, KindDeb))
		var b bytes.Buffer
		require.NoError(t, Deb(&b, input(t, arch)))
		require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
		ask := func(args ...string) string {
			out, err := exec.Command(dpkg, append(args, file)...).CombinedOutput()
			require.NoError(t, err, string(out))
			return string(out)
		}
		info := ask("--field")
		for _, want := range []string{"Package: rightlink\n", "Version: 0.1.0\n", "Architecture: " + arch + "\n", "Section: admin\n"} {
			require.Contains(t, info, want)
		}
		require.NotContains(t, info, "Depends")
		list := ask("--contents")
		require.Regexp(t, `(?m)^-rw-r--r-- root/root .* \./usr/share/man/man8/rightlink.8.gz$`, list)
		require.Regexp(t, `(?m)^-rw-r--r-- root/root .* \./usr/share/bash-completion/completions/rightlink$`, list)
		require.Regexp(t, `(?m)^-rwxr-xr-x root/root +21 2023-11-14 .* \./opt/rightscale/bin/rightlink$`, list)
		require.Regexp(t, `(?m)^-rwxr-xr-x root/root .* \./opt/rightscale/bin/post_install.sh$`, list)
		for line := range strings.Lines(list) {
			if strings.Contains(line, " ./usr/share/") {
				continue
			}
			require.Regexp(t, ` \./(opt/(rightscale/(bin/(rightlink|post_install.sh)?)?)?|usr/(bin/(rs_[a-z_]+ -> /opt/rightscale/bin/rightlink)?)?)?$`, strings.TrimSpace(line))
		}
		dir := t.TempDir()
		out, err := exec.Command(dpkg, "--control", file, dir).CombinedOutput()
		require.NoError(t, err, string(out))
		require.NoFileExists(t, filepath.Join(dir, "conffiles"), "no conffiles")
		for _, script := range []string{"postinst", "prerm", "postrm"} {
			path := filepath.Join(dir, script)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o755), info.Mode())
			require.NoError(t, exec.Command("sh", "-n", path).Run())
		}
	}
}

func TestReproducible(t *testing.T) {
	for name, build := range map[string]func(io.Writer, Input) error{"deb": Deb, "rpm": RPM, "tarball": Tarball} {
		var a, b bytes.Buffer
		require.NoError(t, build(&a, input(t, "amd64")))
		time.Sleep(1100 * time.Millisecond) // archives count seconds
		require.NoError(t, build(&b, input(t, "amd64")))
		require.True(t, bytes.Equal(a.Bytes(), b.Bytes()), name)
	}
}

func TestTarball(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Tarball(&b, input(t, "arm64")))
	zip, err := gzip.NewReader(&b)
	require.NoError(t, err)
	archive := tar.NewReader(zip)
	var names, links []string
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeSymlink {
			require.Equal(t, "rightlink", h.Linkname)
			links = append(links, path.Base(h.Name))
			continue
		}
		require.Equal(t, int64(0o755), h.Mode)
		require.Zero(t, h.Uid)
		require.Equal(t, int64(1_700_000_000), h.ModTime.Unix())
		names = append(names, h.Name)
	}
	require.Equal(t, []string{"rightscale/", "rightscale/bin/", "rightscale/bin/post_install.sh", "rightscale/bin/rightlink"}, names)
	require.Equal(t, Commands(), links)
}

func TestRPM(t *testing.T) {
	program, err := exec.LookPath("rpm")
	if err != nil {
		t.Skip("rpm is not installed")
	}
	in := input(t, "arm64")
	in.Version = "0.2.0-rc1"
	var b bytes.Buffer
	require.NoError(t, RPM(&b, in))
	file := filepath.Join(t.TempDir(), FileName(in.Version, "arm64", KindRPM))
	require.NoError(t, os.WriteFile(file, b.Bytes(), 0o600))
	out, err := exec.Command(program, "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH}\n[%{FILENAMES} %{FILEMODES:octal} %{FILELINKTOS}\n]", file).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "rightlink 0.2.0~rc1 1 aarch64\n")
	require.Contains(t, string(out), "/opt/rightscale/bin/rightlink 100755 \n")
	require.Contains(t, string(out), "/usr/bin/rs_tag 120000 /opt/rightscale/bin/rightlink\n")
}

func TestPatch(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	var b bytes.Buffer
	require.NoError(t, Patch(&b, at, map[string][]byte{"rightscale/bin/rightlink": []byte("x")}))
	require.Error(t, Patch(&b, at, nil))
	for _, name := range []string{"etc/passwd", "rightscale/../x", "/rightscale/x", "rightscale/bin/bootstrap"} {
		require.ErrorContains(t, Patch(&b, at, map[string][]byte{name: nil}), name)
	}
}

func TestBadInput(t *testing.T) {
	err := Deb(io.Discard, Input{Version: "1 2", Arch: "x86_64"})
	for _, want := range []string{`version "1 2"`, `arch "x86_64"`, "time is not set"} {
		require.ErrorContains(t, err, want)
	}
	in := input(t, "amd64")
	in.Binary += "-none"
	require.Error(t, Deb(io.Discard, in))
	require.Error(t, Tarball(io.Discard, in))
}

func TestTime(t *testing.T) {
	other := time.Unix(5, 0)
	got, err := Time(other)
	require.NoError(t, err)
	require.Equal(t, other, got)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	got, err = Time(other)
	require.NoError(t, err)
	require.Equal(t, int64(1_700_000_000), got.Unix())
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	_, err = Time(other)
	require.ErrorContains(t, err, "SOURCE_DATE_EPOCH")
}

// The scripts of the package call bootstrap as they promise.
func TestScriptsCallBootstrap(t *testing.T) {
	for script, tc := range map[string]struct{ args, want string }{
		"post_install.sh": {"", "register"},
		"prerm":           {"remove", "register --remove"},
	} {
		dir := t.TempDir()
		text, err := scripts.ReadFile("scripts/" + script)
		require.NoError(t, err)
		fake := filepath.Join(dir, "bootstrap")
		run := func() string {
			changed := strings.ReplaceAll(string(text), "/opt/rightscale/bin/bootstrap", fake)
			changed = strings.ReplaceAll(changed, "/run/systemd/system", dir+"/none")
			changed = strings.ReplaceAll(changed, "/etc/init.d/rightlink", dir+"/none")
			out, err := exec.Command("sh", "-c", changed, script, tc.args).CombinedOutput()
			require.NoError(t, err, string(out))
			return string(out)
		}
		require.Empty(t, run(), "no bootstrap, nothing to do")
		require.NoError(t, os.WriteFile(fake, []byte("#!/bin/sh\necho \"$*\"\n"), 0o700))
		require.Equal(t, tc.want+"\n", run())
	}
}
