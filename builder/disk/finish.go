// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// catalogueName is the file in output_directory that tells scripts what a build
// made.
const catalogueName = catalogue.FileName

// finish gives the disk its final name and writes the catalogue. Until here the
// output directory has what it had before the build, and it has it again when
// the build fails after all.
func (f *flow) finish(ctx context.Context, j *step.Job) error {
	if _, err := keyFinished.Get(j.State); err == nil {
		return nil // before the images were final
	}
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	size, sum, err := digest(ctx, work)
	if err != nil {
		return err
	}
	entry := f.entry(j)
	if len(entry.Images) == 0 {
		if entry.Proofs, entry.DiskDigest, err = f.prove(ctx, j, work); err != nil {
			return err
		}
	}
	entry.Disk = catalogue.Disk{File: f.config.OutputFilename, Size: size, SHA256: sum}
	// A disk image is no secret of the user who made it.
	if err := os.Chmod(work, 0o644); err != nil {
		return err
	}
	list := filepath.Join(f.config.OutputDirectory, catalogueName)
	for _, path := range []string{f.config.outputPath(), list} {
		if err := putAside(j, path, filepath.Dir(work)); err != nil {
			return err
		}
	}
	if err := os.Rename(work, f.config.outputPath()); err != nil {
		return err
	}
	if err := catalogue.Write(list, entry.Beside(list)); err != nil {
		return err
	}
	keyFinished.Put(j.State, true)
	return nil
}

// putAside makes room for a new file. When the build fails, the new file goes and
// what was there before comes back.
func putAside(j *step.Job, path, dir string) error {
	aside := filepath.Join(dir, "former-"+filepath.Base(path))
	j.Owe(path, func(context.Context) error {
		if !step.Failed(j.State) {
			return nil
		}
		if err := os.Rename(aside, path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	if err := os.Link(path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return os.Rename(path, aside) // a file system without links
	}
	return nil
}

// entry is what the catalogue says of the build.
func (f *flow) entry(j *step.Job) catalogue.Entry {
	config := f.publishing(j)
	result, _ := keyResult.Get(j.State) // nil when no region is given
	return config.Entry(result)
}

// digest returns the size and the SHA-256 of a file.
func digest(ctx context.Context, path string) (int64, string, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer file.Close() //nolint:errcheck // only read
	h := sha256.New()
	buf := make([]byte, 1<<20)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return 0, "", err
		}
		n, err := file.Read(buf)
		size += int64(n)
		h.Write(buf[:n])
		if err == io.EOF {
			return size, hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return 0, "", fmt.Errorf("read %s: %w", path, err)
		}
	}
}
