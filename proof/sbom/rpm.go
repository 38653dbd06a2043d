// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sbom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// rpmDirs are where distributions keep RPM's database: Red Hat's and older
// ones; SUSE and Fedora; OSTree.
func rpmDirs() []string {
	return []string{"/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"}
}

// rpmFiles are the databases by their format: SQLite, Berkeley DB, ndb.
func rpmFiles() []string { return []string{"rpmdb.sqlite", "Packages", "Packages.db"} }

// maxRPM is the largest database of RPM that is read: it holds the files of
// every package too.
const maxRPM = 1 << 30

// rpmFormat prints a line per package.
const rpmFormat = `%{NAME}\t%{EPOCHNUM}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\t%{VENDOR}\t%{LICENSE}\n`

// readRPM reads the packages of Red Hat, SUSE and others with the program rpm of
// this machine, which knows all three formats of the database. The database is
// copied out, so that rpm writes nothing into the image and follows none of its
// links; no macro and no program of the image is used.
func readRPM(ctx context.Context, t *tree.Tree, o Options) ([]Package, error) {
	dir := ""
	for _, d := range rpmDirs() {
		for _, f := range rpmFiles() {
			if dir == "" && t.Exists(d+"/"+f) {
				dir = d
			}
		}
	}
	if dir == "" {
		return nil, nil
	}
	temp, err := os.MkdirTemp("", "rightimage-rpm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // a copy
	for _, f := range append(rpmFiles(), "rpmdb.sqlite-wal", "Index.db") {
		if err := copyOut(t, dir+"/"+f, filepath.Join(temp, f)); err != nil {
			return nil, err
		}
	}
	text, err := o.Commands.Run(ctx, "rpm", "--dbpath", temp, "--nosignature", "--nodigest", "-qa", "--queryformat", rpmFormat)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &missingError{"the image has packages of RPM, which were not listed: the program rpm is not on this machine; install it (package rpm)"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the RPM database in %s: %w", dir, err)
	}
	return parseRPM(text), nil
}

func copyOut(t *tree.Tree, from, to string) error {
	in, err := t.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, maxRPM+1))
	if err == nil && n > maxRPM {
		err = fmt.Errorf("%s has more than %d MiB, which no database of packages has", from, maxRPM>>20)
	}
	return errors.Join(err, out.Close())
}

// parseRPM reads lines of rpmFormat.
func parseRPM(text string) []Package {
	var out []Package
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 7 || f[0] == "" || f[0] == "gpg-pubkey" { // keys are kept as packages
			continue
		}
		for i := range f {
			if f[i] == "(none)" {
				f[i] = ""
			}
		}
		p := Package{Kind: RPM, Name: f[0], Version: f[2], Arch: f[3], Supplier: f[5], Licence: f[6]}
		if f[1] != "" && f[1] != "0" {
			p.Version = f[1] + ":" + p.Version
		}
		p.Source = strings.TrimSuffix(f[4], ".src.rpm")
		out = append(out, p)
	}
	return out
}
