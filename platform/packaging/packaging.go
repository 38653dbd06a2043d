// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package packaging makes the .deb of rightscaled: the program, a systemd unit
// and its settings. The same input gives the same bytes.
package packaging

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
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

// FileName is the usual name of the package's file.
func (in Input) FileName() string { return fmt.Sprintf("%s_%s_%s.deb", Name, in.Version, in.Arch) }

// Deb writes the .deb.
func Deb(w io.Writer, in Input) error {
	if err := in.check(); err != nil {
		return fmt.Errorf("build deb: %w", err)
	}
	dir, err := os.MkdirTemp("", "rightscaled-deb-")
	if err != nil {
		return fmt.Errorf("build deb: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, embedded); err != nil {
		return fmt.Errorf("build deb: %w", err)
	}
	info := in.info(filepath.Join(dir, "files"))
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return fmt.Errorf("build deb: %w", err)
	}
	if err := deb.Default.Package(info, w); err != nil {
		return fmt.Errorf("build deb: %w", err)
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
