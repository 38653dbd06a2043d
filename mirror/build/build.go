// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package build makes RightLink's packages: a .deb for dpkg, an .rpm for rpm and
// a .tar.gz for machines without either; and patches, which replace files of an
// installed version. The same input gives the same bytes.
package build

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"

	"github.com/rightimage/packer-plugin-rightimage/internal/manual"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
)

//go:embed scripts
var scripts embed.FS

// Name is the name of the package.
const Name = "rightlink"

// Input is what a package is made of.
type Input struct {
	// Version as version.Package gives it.
	Version string
	// Arch is amd64 or arm64.
	Arch string
	// Binary is the file with the agent.
	Binary string
	// Time is the modification time of everything in the package.
	Time time.Time
}

// Kinds of packages, as they end a file name.
const (
	KindDeb     = "deb"
	KindRPM     = "rpm"
	KindTarball = "tar.gz"
)

// FileName is the name under which a package is cached and found.
func FileName(version, arch, kind string) string {
	return pkgname.PackageFile(version, arch, kind)
}

// Time is SOURCE_DATE_EPOCH, or the given time where it is not set.
func Time(otherwise time.Time) (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return otherwise, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; want seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// versionForm is what user-data may say in RS_version.
var versionForm = regexp.MustCompile(`^[0-9][0-9a-z._-]*$`)

func (in Input) check() error {
	var problems []error
	if !versionForm.MatchString(in.Version) {
		problems = append(problems, fmt.Errorf("version %q: want a digit, then digits, lower-case letters, dots, dashes and underscores", in.Version))
	}
	if in.Arch != "amd64" && in.Arch != "arm64" {
		problems = append(problems, fmt.Errorf("arch %q: want amd64 or arm64", in.Arch))
	}
	if in.Time.IsZero() {
		problems = append(problems, errors.New("time is not set"))
	}
	return errors.Join(problems...)
}

// binDir is where the files of the package lie.
const binDir = "/opt/rightscale/bin"

// Commands are further names of the agent: a program that is called by one of
// them does what its name says.
func Commands() []string {
	return []string{
		"rs_config", "rs_connect", "rs_log_level", "rs_reenroll", "rs_run_right_script",
		"rs_shutdown", "rs_state", "rs_tag",
	}
}

// Deb writes the .deb.
func Deb(w io.Writer, in Input) error { return in.native(w, KindDeb, deb.Default, nil) }

// RPM writes the .rpm.
func RPM(w io.Writer, in Input) error {
	return in.native(w, KindRPM, rpm.DefaultRPM, func(info *nfpm.Info) {
		// rpm allows no dash in a version, and sorts ~ before everything.
		info.Version = strings.ReplaceAll(in.Version, "-", "~")
		info.Release = "1"
		info.RPM = nfpm.RPM{Summary: "agent that connects a cloud instance to its management platform", Compression: "gzip", BuildHost: "rightimage"}
		info.Scripts.PostInstall = replaceBase(info.Scripts.PostInstall, "rpm-post")
		info.Scripts.PreRemove = replaceBase(info.Scripts.PreRemove, "rpm-preun")
		info.Scripts.PostRemove = ""
	})
}

func replaceBase(path, name string) string { return filepath.Join(filepath.Dir(path), name) }

// native writes a package of a package manager.
func (in Input) native(w io.Writer, kind string, packager nfpm.Packager, change func(*nfpm.Info)) error {
	if err := in.check(); err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	dir, err := os.MkdirTemp("", "rightlink-"+kind+"-")
	if err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := unpackScripts(dir); err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	info := in.info(dir)
	pages, err := manual.Contents(dir, kind, in.Time, Name)
	if err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	info.Contents = append(info.Contents, pages...)
	if change != nil {
		change(info)
	}
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	if err := packager.Package(info, w); err != nil {
		return fmt.Errorf("build %s: %w", kind, err)
	}
	return nil
}

func (in Input) info(dir string) *nfpm.Info {
	file := func(source, name string) *files.Content {
		return &files.Content{Source: source, Destination: binDir + "/" + name, FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: in.Time}}
	}
	contents := files.Contents{file(in.Binary, "rightlink"), file(filepath.Join(dir, "post_install.sh"), "post_install.sh")}
	for _, c := range Commands() {
		contents = append(contents, &files.Content{
			Source: binDir + "/rightlink", Destination: "/usr/bin/" + c, Type: files.TypeSymlink,
			FileInfo: &files.ContentFileInfo{MTime: in.Time},
		})
	}
	info := &nfpm.Info{
		Name: Name, Arch: in.Arch, Platform: "linux", Version: in.Version, VersionSchema: "none",
		Section: "admin", Priority: "optional", License: "MPL-2.0",
		Maintainer: "The RightImage Authors <rightimage@users.noreply.github.com>",
		Homepage:   "https://github.com/rightimage/packer-plugin-rightimage",
		Description: "agent that connects a cloud instance to its management platform\n" +
			"RightLink enrols the instance, runs the boot scripts of its ServerTemplate\n" +
			"and reports its state. An independent, compatible implementation.",
		MTime: in.Time,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(dir, "postinst"), PreRemove: filepath.Join(dir, "prerm"), PostRemove: filepath.Join(dir, "postrm"),
			},
			// gzip is what every dpkg reads.
			Deb: nfpm.Deb{Compression: "gzip"},
		},
	}
	return nfpm.WithDefaults(info)
}

func unpackScripts(dir string) error {
	for _, name := range []string{"post_install.sh", "postinst", "prerm", "postrm", "rpm-post", "rpm-preun"} {
		text, err := scripts.ReadFile("scripts/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Tarball writes the .tar.gz, which is unpacked in /opt.
func Tarball(w io.Writer, in Input) error {
	if err := in.check(); err != nil {
		return fmt.Errorf("build tarball: %w", err)
	}
	binary, err := os.ReadFile(in.Binary)
	if err != nil {
		return fmt.Errorf("build tarball: %w", err)
	}
	script, err := scripts.ReadFile("scripts/post_install.sh")
	if err != nil {
		return fmt.Errorf("build tarball: %w", err)
	}
	return writeTar(w, in.Time, func(add addFunc) error {
		err := errors.Join(
			add("rightscale/", 0o755, nil), add("rightscale/bin/", 0o755, nil),
			add("rightscale/bin/post_install.sh", 0o755, script), add("rightscale/bin/rightlink", 0o755, binary),
		)
		for _, c := range Commands() {
			err = errors.Join(err, add("rightscale/bin/"+c, 0o777, []byte("-> rightlink")))
		}
		return err
	})
}
