// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package packaging makes the packages of the two programs that are not packaged
// elsewhere: the toolkit for build hosts, and the bootstrap agent for running
// machines. (Images get bootstrap from the provisioner, without a package.) The
// same input gives the same bytes.
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

// Names of the packages.
const (
	Toolkit   = "rightimage"
	Bootstrap = "rightimage-bootstrap"
)

// Kinds of packages, as they end a file name.
const (
	KindDeb = "deb"
	KindRPM = "rpm"
)

// Input is what a package is made of.
type Input struct {
	// Name is Toolkit or Bootstrap.
	Name    string
	Version string
	// Arch is amd64 or arm64.
	Arch string
	// Binary is the file with the program.
	Binary string
	// Time is the modification time of everything in the package.
	Time time.Time
}

// content is what tells the packages apart.
type content struct {
	program     string // its base name
	path        string
	summary     string
	description string
	suggests    []string
	// scripts of the package, by kind.
	scripts map[string]nfpm.Scripts
}

func contents() map[string]content {
	return map[string]content{
		Toolkit: {
			program: "rightimage", path: "/usr/bin/rightimage",
			summary:     "tools for cloud images that configure themselves",
			description: "rightimage verifies, cleans and publishes disks as AMIs, and has a local\ncloud to try them in. An independent, compatible implementation.",
			suggests:    []string{"qemu-utils"},
		},
		Bootstrap: {
			program: "bootstrap", path: "/opt/rightscale/bin/bootstrap",
			summary:     "first-boot agent of a RightImage, for running machines",
			description: "bootstrap installs RightLink when the machine is launched with platform\nsettings, and does nothing otherwise. An independent, compatible implementation.",
			scripts: map[string]nfpm.Scripts{
				KindDeb: {PostInstall: "bootstrap-postinst", PreRemove: "bootstrap-prerm"},
				KindRPM: {PostInstall: "bootstrap-rpm-post", PreRemove: "bootstrap-rpm-preun"},
			},
		},
	}
}

// Program is the base name of a package's program.
func Program(name string) string { return contents()[name].program }

// FileName is the usual name of the package's file.
func (in Input) FileName(kind string) string {
	return fmt.Sprintf("%s_%s_%s.%s", in.Name, in.Version, in.Arch, kind)
}

// Write writes a package of a kind.
func Write(w io.Writer, kind string, in Input) error {
	if err := in.write(w, kind); err != nil {
		return fmt.Errorf("build %s of %s: %w", kind, in.Name, err)
	}
	return nil
}

func (in Input) write(w io.Writer, kind string) error {
	if err := in.check(kind); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", in.Name+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, embedded); err != nil {
		return err
	}
	info, err := in.info(dir, kind)
	if err != nil {
		return err
	}
	var packager nfpm.Packager = deb.Default
	if kind == KindRPM {
		packager = rpm.DefaultRPM
	}
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return err
	}
	return packager.Package(info, w)
}

func (in Input) info(dir, kind string) (*nfpm.Info, error) {
	c := contents()[in.Name]
	pages, err := manual.Contents(dir, kind, in.Time, c.program)
	if err != nil {
		return nil, err
	}
	info := &nfpm.Info{
		Name: in.Name, Arch: in.Arch, Platform: "linux", Version: in.Version, VersionSchema: "none",
		Section: "admin", Priority: "optional", License: "MPL-2.0",
		Maintainer:  "The RightImage Authors <rightimage@users.noreply.github.com>",
		Homepage:    "https://github.com/rightimage/packer-plugin-rightimage",
		Description: c.summary + "\n" + c.description,
		MTime:       in.Time,
		Overridables: nfpm.Overridables{
			Suggests: c.suggests,
			Contents: append(files.Contents{{
				Source: in.Binary, Destination: c.path, FileInfo: &files.ContentFileInfo{Mode: 0o755, MTime: in.Time},
			}}, pages...),
			Deb: nfpm.Deb{Compression: "gzip"},
		},
	}
	if kind == KindRPM {
		// rpm allows no dash in a version, and sorts ~ before everything.
		info.Version, info.Release = strings.ReplaceAll(in.Version, "-", "~"), "1"
		info.RPM = nfpm.RPM{Summary: c.summary, Compression: "gzip", BuildHost: "rightimage"}
	}
	if s, ok := c.scripts[kind]; ok {
		info.Scripts = nfpm.Scripts{PostInstall: filepath.Join(dir, "files", s.PostInstall), PreRemove: filepath.Join(dir, "files", s.PreRemove)}
	}
	return nfpm.WithDefaults(info), nil
}

func (in Input) check(kind string) error {
	var problems []error
	if _, ok := contents()[in.Name]; !ok {
		problems = append(problems, fmt.Errorf("name %q: want %s or %s", in.Name, Toolkit, Bootstrap))
	}
	if kind != KindDeb && kind != KindRPM {
		problems = append(problems, fmt.Errorf("kind %q: want %s or %s", kind, KindDeb, KindRPM))
	}
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
