// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/freespace"
)

// File is what a download must be.
type File struct {
	Length int64
	SHA256 string // in hex
}

// PartSuffix ends the name of a download that is not complete.
const PartSuffix = ".part"

// spare stays free on the disk beside a download.
const spare = 16 << 20

// resumes is how often one call takes up a download that broke off.
const resumes = 4

// Download puts the file into path, if it is what it must be: the first of the
// addresses that has it. A part that an earlier call left is gone on with, the
// bytes of other addresses too: only the digest counts. Nothing but the whole
// file ever has the name path.
func (c *Client) Download(ctx context.Context, path string, want File, mode fs.FileMode, addresses ...string) error {
	if whole(path, want) {
		return nil
	}
	if err := free(filepath.Dir(path), want.Length-size(path+PartSuffix)); err != nil {
		return err
	}
	var errs []error
	for _, address := range addresses {
		err := c.take(ctx, address, path, want)
		if err == nil {
			return finish(path, mode)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var missing *StatusError
		if errors.As(err, &missing) && missing.Code == 404 && len(addresses) > 1 && len(errs) > 0 {
			continue // one "not there" says enough
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// take downloads from one address. A part that turns out wrong is thrown away
// and the file is taken once more from its start.
func (c *Client) take(ctx context.Context, address, path string, want File) error {
	part := path + PartSuffix
	fresh := size(part) == 0
	for try := 0; ; try++ {
		before := size(part)
		err := c.part(ctx, address, part, want.Length)
		switch {
		case err == nil && whole(part, want):
			return nil
		case err == nil && fresh:
			_ = os.Remove(part)
			return fmt.Errorf("%s: %w", show(address), ErrDigest)
		case err == nil:
			_ = os.Remove(part)
			fresh = true
			continue
		case errors.Is(err, ErrTooLong):
			_ = os.Remove(part)
			return err
		}
		var refused *StatusError
		if errors.As(err, &refused) && refused.Code == 416 { // our part is longer than their file
			_ = os.Remove(part)
			if fresh {
				return fmt.Errorf("%s: %w", show(address), ErrDigest)
			}
			fresh = true
			continue
		}
		if ctx.Err() != nil || try >= resumes || size(part) <= before {
			return err
		}
	}
}

// part appends what is missing to the part.
func (c *Client) part(ctx context.Context, address, part string, length int64) error {
	have := size(part)
	if have > length {
		_ = os.Remove(part)
		have = 0
	}
	if have == length && length > 0 {
		return nil
	}
	body, start, err := c.open(ctx, address, have)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // only read
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, seekErr := f.Seek(start, io.SeekStart)
	err = errors.Join(f.Truncate(start), seekErr)
	if err == nil {
		err = fill(f, body, length-start)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", show(address), err)
	}
	return nil
}

// fill copies exactly n bytes; one more is an answer that does not end.
func fill(w io.Writer, r io.Reader, n int64) error {
	got, err := io.Copy(w, io.LimitReader(r, n))
	if err != nil {
		return err
	}
	if got < n {
		return fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, got, n)
	}
	if more, _ := r.Read(make([]byte, 1)); more > 0 {
		return ErrTooLong
	}
	return nil
}

func finish(path string, mode fs.FileMode) error {
	part := path + PartSuffix
	f, err := os.Open(part)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close(), os.Rename(part, path)); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

func size(path string) int64 {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// whole says that the file is there and right.
func whole(path string, want File) bool {
	if size(path) != want.Length {
		return false
	}
	sum, err := Digest(path)
	return err == nil && strings.EqualFold(sum, want.SHA256)
}

// Digest returns the SHA-256 of a file in hex.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// free checks the disk before a download.
func free(dir string, need int64) error {
	have, err := freespace.Below(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if have < need+spare {
		return fmt.Errorf("%w in %s: %d MiB are free, %d MiB are needed", ErrSpace, dir, have>>20, (need+spare)>>20)
	}
	return nil
}

// maxUnknown bounds a file of unknown length.
const maxUnknown = 256 << 20

// Save downloads a file of unknown content and returns its SHA-256. Nothing
// about it can be trusted.
func (c *Client) Save(ctx context.Context, address, path string, mode fs.FileMode) (sum string, err error) {
	part := path + PartSuffix
	_ = os.Remove(part)
	body, _, err := c.open(ctx, address, 0)
	if err != nil {
		return "", err
	}
	defer body.Close() //nolint:errcheck // only read
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(body, maxUnknown+1))
	if err == nil && n > maxUnknown {
		err = ErrTooLong
	}
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(part)
		return "", fmt.Errorf("%s: %w", show(address), err)
	}
	return hex.EncodeToString(h.Sum(nil)), finish(path, mode)
}
