// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDeb(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "rightscaled")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755))
	in := Input{Version: "1.2.3", Arch: "amd64", Binary: binary, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var one, two bytes.Buffer
	require.NoError(t, Deb(&one, in))
	require.NoError(t, Deb(&two, in))
	require.Equal(t, one.Bytes(), two.Bytes(), "the same input gives the same bytes")
	require.ErrorContains(t, Deb(&two, Input{Arch: "mips"}), `arch "mips"`)

	file := filepath.Join(dir, in.FileName(KindDeb))
	require.NoError(t, os.WriteFile(file, one.Bytes(), 0o644))
	dpkg := func(args ...string) string {
		out, err := exec.Command("dpkg-deb", args...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	require.Equal(t, "rightscaled 1.2.3 amd64", dpkg("-W", "--showformat=${Package} ${Version} ${Architecture}", file))
	list := dpkg("-c", file)
	for _, want := range []string{
		"./usr/share/man/man8/rightscaled.8.gz", "./usr/share/zsh/vendor-completions/_rightscaled",
		"-rwxr-xr-x root/root", "./usr/bin/rightscaled", "./usr/lib/systemd/system/rightscaled.service", "-rw------- root/root", "./etc/rightscaled/rightscaled.env",
	} {
		require.Contains(t, list, want)
	}
	control := filepath.Join(dir, "control")
	dpkg("-e", file, control)
	conffiles, err := os.ReadFile(filepath.Join(control, "conffiles"))
	require.NoError(t, err)
	require.Equal(t, "/etc/rightscaled/rightscaled.env\n", string(conffiles))
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		out, err := exec.Command("sh", "-n", filepath.Join(control, script)).CombinedOutput()
		require.NoError(t, err, string(out))
	}
}

func TestRPM(t *testing.T) {
	program, err := exec.LookPath("rpm")
	if err != nil {
		t.Skip("rpm is not installed")
	}
	dir := t.TempDir()
	in := Input{Version: "1.2.3-rc1", Arch: "arm64", Binary: filepath.Join(dir, "rightscaled"), Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	require.NoError(t, os.WriteFile(in.Binary, []byte("#!/bin/sh\n"), 0o755))
	var one, two bytes.Buffer
	require.NoError(t, RPM(&one, in))
	require.NoError(t, RPM(&two, in))
	require.Equal(t, one.Bytes(), two.Bytes(), "the same input gives the same bytes")
	file := filepath.Join(dir, in.FileName(KindRPM))
	require.NoError(t, os.WriteFile(file, one.Bytes(), 0o644))
	ask := func(args ...string) string {
		out, err := exec.Command(program, append([]string{"-qp", "--nosignature"}, append(args, file)...)...).CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	out := ask("--qf", "%{NAME} %{VERSION} %{RELEASE} %{ARCH}\n[%{FILENAMES} %{FILEMODES:octal}\n]")
	for _, want := range []string{
		"rightscaled 1.2.3~rc1 1 aarch64\n", "/usr/bin/rightscaled 100755\n", "/etc/rightscaled/rightscaled.env 100600\n",
		"/usr/share/man/man8/rightscaled.8.gz 100644\n", "/usr/share/zsh/site-functions/_rightscaled 100644\n",
	} {
		require.Contains(t, out, want)
	}
	require.Equal(t, "/etc/rightscaled/rightscaled.env\n", ask("-c"), "settings are kept")
	require.Contains(t, ask("--scripts"), "useradd")
	for _, script := range []string{"rpm-post", "rpm-preun", "rpm-postun"} {
		out, err := exec.Command("sh", "-n", filepath.Join("files", script)).CombinedOutput()
		require.NoError(t, err, string(out))
	}
}

// What the unit starts must be what the program understands, and systemd must
// understand the unit.
func TestUnit(t *testing.T) {
	unit, err := embedded.ReadFile("files/rightscaled.service")
	require.NoError(t, err)
	require.Contains(t, string(unit), "ExecStart=/usr/bin/rightscaled serve $OPTIONS\n")
	require.Contains(t, string(unit), "EnvironmentFile=/etc/rightscaled/rightscaled.env\n")
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd on this machine")
	}
	dir := t.TempDir()
	// The program is not installed here, so another one stands in for it.
	text := strings.Replace(string(unit), "/usr/bin/rightscaled", "/bin/true", 1)
	file := filepath.Join(dir, "rightscaled.service")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), file+":", "nothing is unknown to systemd")
}
