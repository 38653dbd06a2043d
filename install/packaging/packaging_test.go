// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func written(t *testing.T, kind string, in Input) string {
	t.Helper()
	in.Binary = filepath.Join(t.TempDir(), "program")
	in.Time = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, os.WriteFile(in.Binary, []byte("#!/bin/sh\n"), 0o600)) // the package sets the mode
	var one, two bytes.Buffer
	require.NoError(t, Write(&one, kind, in))
	require.NoError(t, Write(&two, kind, in))
	require.Equal(t, one.Bytes(), two.Bytes(), "the same input gives the same bytes")
	file := filepath.Join(t.TempDir(), in.FileName(kind))
	require.NoError(t, os.WriteFile(file, one.Bytes(), 0o644))
	return file
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestDeb(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	for name, want := range map[string][]string{
		Toolkit:   {" ./usr/bin/rightimage\n", " ./usr/share/man/man1/rightimage.1.gz\n", " ./usr/share/bash-completion/completions/rightimage\n"},
		Bootstrap: {" ./opt/rightscale/bin/bootstrap\n", " ./usr/share/man/man8/bootstrap.8.gz\n", " ./usr/share/fish/vendor_completions.d/bootstrap.fish\n"},
	} {
		file := written(t, KindDeb, Input{Name: name, Version: "1.2.3", Arch: "amd64"})
		require.Equal(t, name+" 1.2.3 amd64", output(t, "dpkg-deb", "-W", "--showformat=${Package} ${Version} ${Architecture}", file))
		list := output(t, "dpkg-deb", "-c", file)
		for _, w := range want {
			require.Contains(t, list, w)
		}
		require.Contains(t, list, "-rwxr-xr-x root/root")
	}
}

func TestRPM(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed")
	}
	for name, want := range map[string]string{Toolkit: "/usr/bin/rightimage 100755\n", Bootstrap: "/opt/rightscale/bin/bootstrap 100755\n"} {
		file := written(t, KindRPM, Input{Name: name, Version: "1.2.3-rc1", Arch: "arm64"})
		out := output(t, "rpm", "-qp", "--nosignature", "--qf", "%{NAME} %{VERSION} %{ARCH}\n[%{FILENAMES} %{FILEMODES:octal}\n]", file)
		require.Contains(t, out, name+" 1.2.3~rc1 aarch64\n")
		require.Contains(t, out, want)
	}
}

func TestScripts(t *testing.T) {
	list, err := filepath.Glob("files/bootstrap-*")
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, script := range list {
		output(t, "sh", "-n", script)
	}
}

func TestBadInput(t *testing.T) {
	err := Write(&bytes.Buffer{}, "zip", Input{Name: "x", Arch: "mips"})
	for _, want := range []string{`name "x"`, `kind "zip"`, "version is not set", `arch "mips"`, "time is not set"} {
		require.ErrorContains(t, err, want)
	}
}
