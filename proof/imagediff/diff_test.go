// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imagediff

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// put writes files below a new directory; a name that ends with a slash is a
// directory, a content of "-> x" a link.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		to, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			require.NoError(t, os.MkdirAll(p, 0o755))
		case link:
			require.NoError(t, os.Symlink(to, p))
		default:
			require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
		}
	}
	return root
}

func status(packages ...string) string {
	var b strings.Builder
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		b.WriteString("Package: " + name + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n")
	}
	return b.String()
}

func TestCompare(t *testing.T) {
	from := put(t, map[string]string{
		"var/lib/dpkg/status": status("openssl 3.0.1", "old 1", "same 2"), "var/lib/dpkg/info/openssl.list": "/usr\n/usr/bin\n/usr/bin/openssl\n",
		"usr/bin/openssl": "one", "etc/ssh/sshd_config": "a", "etc/gone": "x", "opt/tool": "12345", "opt/kept": "kept", "opt/dir/": "", "opt/link": "-> kept",
	})
	to := put(t, map[string]string{
		"var/lib/dpkg/status": status("openssl 3.0.2", "new 1", "same 2"), "var/lib/dpkg/info/openssl.list": "/usr\n/usr/bin\n/usr/bin/openssl\n",
		"usr/bin/openssl": "three", "etc/ssh/sshd_config": "b", "opt/tool": "12346", "opt/kept": "kept", "opt/dir": "now a file", "opt/link": "-> dir", "opt/more": "new|\x1b[2J",
	})
	require.NoError(t, os.Chmod(filepath.Join(to, "etc"), 0o700))
	require.NoError(t, os.Chtimes(filepath.Join(to, "opt/kept"), time.Unix(1, 0), time.Unix(1, 0)))
	r, err := Compare(t.Context(), from, to, sbom.Options{})
	require.NoError(t, err)
	require.Equal(t, []PackageChange{
		{Action: Added, Kind: "deb", Name: "new", Arch: "amd64", To: "1"}, {Action: Removed, Kind: "deb", Name: "old", Arch: "amd64", From: "1"},
		{Action: Changed, Kind: "deb", Name: "openssl", Arch: "amd64", From: "3.0.1", To: "3.0.2"},
	}, r.Packages)
	require.Equal(t, []FileChange{
		{Action: Changed, Path: "/etc", What: []string{"mode"}}, {Action: Removed, Path: "/etc/gone", From: 1},
		{Action: Changed, Path: "/etc/ssh/sshd_config", What: []string{"content"}, From: 1, To: 1},
	}, r.Configuration)
	require.Equal(t, Counts{Changed: 2, Bytes: 2}, r.PackageFiles)
	var paths []string
	for _, f := range r.Files {
		paths = append(paths, string(f.Action)+" "+f.Path+" "+strings.Join(f.What, ","))
	}
	require.Equal(t, []string{
		"changed /opt/dir type,mode", "changed /opt/link link", "added /opt/more ", "changed /opt/tool content",
	}, paths)

	for _, format := range Formats() {
		var b strings.Builder
		require.NoError(t, r.Write(&b, format))
		require.Contains(t, b.String(), "3.0.2", format)
		require.NotContains(t, b.String(), "\x1b", "nothing of an image moves the cursor")
	}
	require.Error(t, r.Write(&strings.Builder{}, "pdf"))

	same, err := Compare(t.Context(), from, from, sbom.Options{})
	require.NoError(t, err)
	require.True(t, same.Same())
	var b strings.Builder
	require.NoError(t, same.Write(&b, "markdown"))
	require.Equal(t, "Nothing has changed.\n", b.String())
	_, err = Compare(t.Context(), from, from+"/none", sbom.Options{})
	require.Error(t, err)
}

// Several versions of a package are compared as sets, such as kernels.
func TestPackages(t *testing.T) {
	p := func(name, version string) sbom.Package {
		return sbom.Package{Kind: "rpm", Name: name, Version: version}
	}
	got := packages([]sbom.Package{p("kernel", "1"), p("kernel", "2")}, []sbom.Package{p("kernel", "2"), p("kernel", "3")})
	require.Equal(t, []PackageChange{{Action: Changed, Kind: "rpm", Name: "kernel", From: "1", To: "3"}}, got)
	require.Empty(t, packages([]sbom.Package{p("a", "1")}, []sbom.Package{p("a", "1")}))
}

func TestMarkdownEscapes(t *testing.T) {
	r := &Result{
		Packages: []PackageChange{{Action: Added, Kind: "deb", Name: "a|b", To: "1"}},
		Files:    []FileChange{{Action: Added, Path: "/opt/`x`\n# big"}},
	}
	require.Contains(t, r.markdown(), `| a\|b | 1 |`)
	require.Contains(t, r.markdown(), "- `/opt/'x'?# big` (added)")
}
