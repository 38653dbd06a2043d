// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sbom

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/files"
	nfpmrpm "github.com/goreleaser/nfpm/v2/rpm"
	"github.com/package-url/packageurl-go"
	"github.com/stretchr/testify/require"
)

const dpkgStatus = `Package: libssl3
Status: install ok installed
Maintainer: Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>
Architecture: amd64
Multi-Arch: same
Source: openssl (3.0.11-1)
Version: 3.0.11-1~deb12u2
Description: library
 Version: not a field
 .
 more

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: base-files
Status: hold ok installed
Architecture: amd64
Version: 12.4+deb12u5
`

func TestParse(t *testing.T) {
	libssl := Package{
		Kind: Deb, Name: "libssl3", Version: "3.0.11-1~deb12u2", Arch: "amd64", Source: "openssl", SourceVersion: "3.0.11-1",
		Supplier: "Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>",
	}
	for _, tc := range []struct {
		name string
		got  []Package
		want []Package
	}{
		{"dpkg", parseDpkg(dpkgStatus), []Package{libssl, {Kind: Deb, Name: "base-files", Version: "12.4+deb12u5", Arch: "amd64"}}},
		{"dpkg of a distroless image", parseDpkg("Package: tzdata\nVersion: 2024a\nArchitecture: all"), []Package{{Kind: Deb, Name: "tzdata", Version: "2024a", Arch: "all"}}},
		{"dpkg with carriage returns", parseDpkg("Package: a\r\nVersion: 1\r\n\r\n"), []Package{{Kind: Deb, Name: "a", Version: "1"}}},
		{"apk", parseApk("C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\nm:Timo\nL:MIT\nF:lib\nR:libc.so\n\nP:half\n\n"), []Package{
			{Kind: APK, Name: "musl", Version: "1.2.4-r2", Arch: "x86_64", Source: "musl", Supplier: "Timo", Licence: "MIT"},
		}},
		{"rpm", parseRPM("bash\t0\t5.1.8-6.el9\tx86_64\tbash-5.1.8-6.el9.src.rpm\tRocky\tGPLv3+\nvim\t2\t8.2-1\tx86_64\t(none)\t(none)\tVim\ngpg-pubkey\t0\t1-2\t(none)\t(none)\t(none)\tpubkey\nbroken line\n"), []Package{
			{Kind: RPM, Name: "bash", Version: "5.1.8-6.el9", Arch: "x86_64", Source: "bash-5.1.8-6.el9", Supplier: "Rocky", Licence: "GPLv3+"},
			{Kind: RPM, Name: "vim", Version: "2:8.2-1", Arch: "x86_64", Licence: "Vim"},
		}},
		{"nothing", slices.Concat(parseDpkg(""), parseApk(""), parseRPM("")), nil},
	} {
		require.Equal(t, tc.want, tc.got, tc.name)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(dpkgStatus)
	f.Add("P:a\nV:1\n\n")
	f.Add("a\t0\t1\tx\t\t\t\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range slices.Concat(parseDpkg(text), parseApk(text), parseRPM(text)) {
			if p.Name == "" || p.Kind == "" {
				t.Fatalf("a package without a name: %+v", p)
			}
			i := Inventory{System: System{ID: "debian", Version: "12"}}
			_ = i.purl(p)
		}
	})
}

// image makes a small Debian root with a program of ours in it.
func image(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put := func(p string, data []byte, mode os.FileMode) {
		p = filepath.Join(root, p)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, data, mode))
	}
	put("usr/lib/os-release", []byte("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n"), 0o644)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	require.NoError(t, os.Symlink("/usr/lib/os-release", filepath.Join(root, "etc/os-release")))
	put("var/lib/dpkg/status", []byte(dpkgStatus), 0o644)
	built := filepath.Join(t.TempDir(), "program")
	out, err := exec.Command("go", "build", "-o", built, "../../cmd/imagecheck").CombinedOutput()
	require.NoError(t, err, string(out))
	program, err := os.ReadFile(built)
	require.NoError(t, err)
	put("usr/local/bin/tool", program, 0o755)
	require.NoError(t, os.Link(filepath.Join(root, "usr/local/bin/tool"), filepath.Join(root, "usr/local/bin/again")))
	put("usr/local/bin/not-executable", program, 0o644)
	put("usr/local/bin/broken", append([]byte("\x7fELF"), bytes.Repeat([]byte{0xff}, leastProgram)...), 0o755)
	put("usr/local/bin/script", append([]byte("#!/bin/sh\n"), bytes.Repeat([]byte{'#'}, leastProgram)...), 0o755)
	return root
}

func TestBill(t *testing.T) {
	root := image(t)
	inv, err := Read(t.Context(), root, Options{})
	require.NoError(t, err)
	require.Equal(t, System{ID: "debian", Version: "12", Name: "Debian 12"}, inv.System)
	require.Equal(t, "2 deb packages, 1 Go programs", inv.String())

	var first, second bytes.Buffer
	about := About{Name: "web-1", Time: time.Unix(1e9, 0)}
	require.NoError(t, inv.WriteJSON(&first, about))
	again, err := Read(t.Context(), root, Options{})
	require.NoError(t, err)
	require.NoError(t, again.WriteJSON(&second, about))
	require.Equal(t, first.String(), second.String(), "equal images have equal bills")

	var bom cdx.BOM
	require.NoError(t, cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(&bom))
	require.Equal(t, cdx.SpecVersion1_6, bom.SpecVersion)
	require.Equal(t, "2001-09-09T01:46:40Z", bom.Metadata.Timestamp)
	refs := map[string]cdx.Component{"image": *bom.Metadata.Component}
	for _, c := range *bom.Components {
		require.NotContains(t, refs, c.BOMRef, "references are unique")
		refs[c.BOMRef] = c
		if c.PackageURL != "" {
			_, err := packageurl.FromString(c.PackageURL)
			require.NoError(t, err)
		}
	}
	for _, d := range *bom.Dependencies {
		require.Contains(t, refs, d.Ref)
		for _, to := range *d.Dependencies {
			require.Contains(t, refs, to)
		}
	}
	ssl, err := packageurl.FromString(find(refs, "libssl3").PackageURL)
	require.NoError(t, err)
	require.Equal(t, "debian", ssl.Namespace)
	require.Equal(t, map[string]string{"arch": "amd64", "distro": "debian-12", "upstream": "openssl@3.0.11-1"}, ssl.Qualifiers.Map())
	require.NotEmpty(t, find(refs, "golang.org/x/sys").Version, "a module of the program")
	require.Equal(t, "pkg:golang/golang.org/x/sys@"+find(refs, "golang.org/x/sys").Version, find(refs, "golang.org/x/sys").PackageURL)

	var xml bytes.Buffer
	require.NoError(t, inv.WriteXML(&xml, about))
	require.NoError(t, cdx.NewBOMDecoder(&xml, cdx.BOMFileFormatXML).Decode(&bom))
}

func find(refs map[string]cdx.Component, name string) cdx.Component {
	for _, c := range refs {
		if c.Name == name {
			return c
		}
	}
	return cdx.Component{}
}

// A database that rpm itself has made, in those of its formats that this machine's knows.
func TestRPM(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed")
	}
	var pkg bytes.Buffer
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "hello", Version: "1.2", Release: "3", Epoch: "4", Arch: "amd64", Platform: "linux", Description: "a test", Vendor: "Us", License: "MIT",
		Overridables: nfpm.Overridables{Contents: files.Contents{{Source: "sbom_test.go", Destination: "/usr/share/hello"}}},
	})
	require.NoError(t, nfpm.PrepareForPackager(info, "rpm"))
	require.NoError(t, nfpmrpm.DefaultRPM.Package(info, &pkg))
	file := filepath.Join(t.TempDir(), "hello.rpm")
	require.NoError(t, os.WriteFile(file, pkg.Bytes(), 0o600))
	for backend, dir := range map[string]string{"sqlite": "var/lib/rpm", "ndb": "usr/lib/sysimage/rpm"} {
		t.Run(backend, func(t *testing.T) {
			root := t.TempDir()
			db := filepath.Join(root, dir)
			require.NoError(t, os.MkdirAll(db, 0o755))
			out, err := exec.Command("rpm", "--define", "_db_backend "+backend, "--dbpath", db, "--nosignature", "--justdb", "--nodeps", "--ignorearch", "--ignoreos", "--force-debian", "-i", file).CombinedOutput()
			if strings.Contains(string(out), "invalid %_db_backend") {
				t.Skip("this machine's rpm does not know " + backend)
			}
			require.NoError(t, err, string(out))
			before := listing(t, db)
			inv, err := Read(t.Context(), root, Options{})
			require.NoError(t, err)
			require.Equal(t, []Package{{Kind: RPM, Name: "hello", Version: "4:1.2.0-3", Arch: "x86_64", Source: "hello-1.2.0-3", Supplier: "Us", Licence: "MIT"}}, inv.Packages)
			require.Equal(t, before, listing(t, db), "the image is as it was")
			require.Contains(t, inv.purl(inv.Packages[0]), "epoch=4")
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("ls", "-lR", "--full-time", dir).CombinedOutput()
	require.NoError(t, err)
	return string(out)
}

type noRPM struct{}

func (noRPM) Run(context.Context, string, ...string) (string, error) { return "", exec.ErrNotFound }

// Where rpm is missing the rest is listed, and the bill says what is not.
func TestWithoutRPM(t *testing.T) {
	root := image(t)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/rpm"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "var/lib/rpm/rpmdb.sqlite"), []byte("x"), 0o600))
	inv, err := Read(t.Context(), root, Options{Commands: noRPM{}, SkipPrograms: true})
	require.NoError(t, err)
	require.Len(t, inv.Packages, 2)
	require.Len(t, inv.Notes, 1)
	require.Contains(t, inv.Notes[0], "install it")
	var b strings.Builder
	require.NoError(t, inv.WriteJSON(&b, About{Name: "x"}))
	require.Contains(t, b.String(), "rightimage:note")
}
