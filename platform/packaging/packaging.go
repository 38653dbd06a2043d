// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package packaging makes the .deb and the .rpm of rightscaled: the program, a
// systemd unit, its settings and its manual. The same input gives the same bytes.
package packaging

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"

	"github.com/rightimage/packer-plugin-rightimage/internal/manual"
)

//go:embed files
var embedded embed.FS

// Name is the name of the package.
const Name = "rightscaled"

// Input is what the package is made of.
type Input struct {
	Version string
	// Arch is amd64 or arm64.
	Arch string
	// Binary is the file with the program.
	Binary string
	// Time is the modification time of everything in the package.
	Time time.Time
}

// Kinds of packages, as they end a file name.
const (
	KindDeb = "deb"
	KindRPM = "rpm"
)

// FileName is the usual name of the package's file.
func (in Input) FileName(kind string) string {
	return fmt.Sprintf("%s_%s_%s.%s", Name, in.Version, in.Arch, kind)
}

// Deb writes the .deb.
func Deb(w io.Writer, in Input) error { return in.write(w, KindDeb, deb.Default, nil) }

// RPM writes the .rpm. Its scripts are told other words than those of a .deb.
func RPM(w io.Writer, in Input) error {
	return in.write(w, KindRPM, rpm.DefaultRPM, func(info *nfpm.Info, dir string) {
		// rpm allows no dash in a version, and sorts ~ before everything.
		info.Version = strings.ReplaceAll(in.Version, "-", "~")
		info.Release = "1"
		info.Depends = []string{"shadow-utils", "ca-certificates"}
		info.Suggests = []string{"postgresql-server"}
		info.RPM = nfpm.RPM{Summary: "management platform for instances with RightLink", Compression: "gzip", BuildHost: "rightimage"}
		info.Scripts = nfpm.Scripts{
			PostInstall: filepath.Join(dir, "rpm-post"), PreRemove: filepath.Join(dir, "rpm-preun"), PostRemove: filepath.Join(dir, "rpm-postun"),
		}
	})
}

// write writes a package of a package manager.
func (in Input) write(w io.Writer, kind string, packager nfpm.Packager, change func(*nfpm.Info, string)) error {
	fail := func(err error) error { return fmt.Errorf("build %s: %w", kind, err) }
	if err := in.check(); err != nil {
		return fail(err)
	}
	tmp, err := os.MkdirTemp("", "rightscaled-"+kind+"-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.CopyFS(tmp, embedded); err != nil {
		return fail(err)
	}
	dir := filepath.Join(tmp, "files")
	info := in.info(dir)
	pages, err := manual.Contents(tmp, kind, in.Time, Name)
	if err != nil {
		return fail(err)
	}
	info.Contents = append(info.Contents, pages...)
	if change != nil {
		change(info, dir)
	}
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return fail(err)
	}
	if err := packager.Package(info, w); err != nil {
		return fail(err)
	}
	return nil
}

func (in Input) info(dir string) *nfpm.Info {
	file := func(source, destination, kind string, mode os.FileMode) *files.Content {
		return &files.Content{Source: source, Destination: destination, Type: kind, FileInfo: &files.ContentFileInfo{Mode: mode, MTime: in.Time}}
	}
	return nfpm.WithDefaults(&nfpm.Info{
		Name: Name, Arch: in.Arch, Platform: "linux", Version: in.Version, VersionSchema: "none",
		Section: "admin", Priority: "optional", License: "MPL-2.0",
		Maintainer: "The RightImage Authors <rightimage@users.noreply.github.com>",
		Homepage:   "https://github.com/rightimage/packer-plugin-rightimage",
		Description: "management platform for instances with RightLink\n" +
			"rightscaled enrols instances, keeps servers and ServerTemplates, and runs\n" +
			"scripts on instances. An independent, compatible implementation.",
		MTime: in.Time,
		Overridables: nfpm.Overridables{
			Depends:  []string{"passwd", "ca-certificates"},
			Suggests: []string{"postgresql"},
			Contents: files.Contents{
				file(in.Binary, "/usr/bin/rightscaled", "", 0o755),
				file(filepath.Join(dir, "rightscaled.service"), "/usr/lib/systemd/system/rightscaled.service", "", 0o644),
				file(filepath.Join(dir, "sysusers.conf"), "/usr/lib/sysusers.d/rightscaled.conf", "", 0o644),
				file(filepath.Join(dir, "rightscaled.env"), "/etc/rightscaled/rightscaled.env", files.TypeConfigNoReplace, 0o600),
			},
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(dir, "postinst"), PreRemove: filepath.Join(dir, "prerm"), PostRemove: filepath.Join(dir, "postrm"),
			},
			Deb: nfpm.Deb{Compression: "gzip"},
		},
	})
}

func (in Input) check() error {
	var problems []error
	if in.Version == "" {
		problems = append(problems, errors.New("version is not set"))
	}
	if in.Arch != "amd64" && in.Arch != "arm64" {
		problems = append(problems, fmt.Errorf("arch %q: want amd64 or arm64", in.Arch))
	}
	if in.Time.IsZero() {
		problems = append(problems, errors.New("time is not set"))
	}
	return errors.Join(problems...)
}
