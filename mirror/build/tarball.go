// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package build

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// addFunc adds an entry: nil data is a folder, "-> target" with mode 0777 a link.
type addFunc func(name string, mode int64, data []byte) error

// writeTar writes a .tar.gz whose bytes depend on its entries alone.
func writeTar(w io.Writer, at time.Time, fill func(addFunc) error) error {
	zip, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("build tarball: %w", err)
	}
	archive := tar.NewWriter(zip)
	add := func(name string, mode int64, data []byte) error {
		h := &tar.Header{Name: name, Mode: mode, ModTime: at, Size: int64(len(data)), Typeflag: tar.TypeReg, Uname: "root", Gname: "root", Format: tar.FormatUSTAR}
		switch target, link := strings.CutPrefix(string(data), "-> "); {
		case data == nil:
			h.Typeflag = tar.TypeDir
		case link && mode == 0o777:
			h.Typeflag, h.Linkname, h.Size, data = tar.TypeSymlink, target, 0, nil
		}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		_, err := archive.Write(data)
		return err
	}
	if err := errors.Join(fill(add), archive.Close(), zip.Close()); err != nil {
		return fmt.Errorf("build tarball: %w", err)
	}
	return nil
}

// Patch writes a patch: files that replace those of an installed version, by
// their path below /opt, such as rightscale/bin/rightlink.
func Patch(w io.Writer, at time.Time, files map[string][]byte) error {
	if len(files) == 0 {
		return errors.New("build patch: it has no file")
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if !filepath.IsLocal(name) || path.Clean(name) != name || !strings.HasPrefix(name, "rightscale/") || name == "rightscale/bin/bootstrap" {
			return fmt.Errorf("build patch: %q: a patch changes files below rightscale/, and never rightscale/bin/bootstrap", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return writeTar(w, at, func(add addFunc) error {
		var errs []error
		for _, name := range names {
			errs = append(errs, add(name, 0o755, files[name]))
		}
		return errors.Join(errs...)
	})
}
