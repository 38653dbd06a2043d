// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package repo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// Synced is what Sync did.
type Synced struct {
	Files   int // that the source has
	Fetched int // that were missing here
	Root    int64
}

// maxMetadata bounds one metadata file that is copied.
const maxMetadata = 8 << 20

// Sync makes dir a copy of the mirror at an address, of one version only if it
// is given (packages of others are then missing, which readers bear). Everything is checked
// against the root of trust first; files come before the metadata that names
// them, and the timestamp last, so that readers of the copy never see a gap.
func Sync(ctx context.Context, client *fetch.Client, root []byte, from, dir, version string) (Synced, error) {
	check := &trust.Client{Root: root, Dir: filepath.Join(dir, ".trusted"), Get: client}
	cat, err := check.Refresh(ctx, from)
	if err != nil {
		return Synced{}, fmt.Errorf("%s: %w", from, err)
	}
	done := Synced{Root: cat.Root}
	for _, f := range cat.Files {
		if version != "" && f.Version != version {
			continue
		}
		done.Files++
		to := filepath.Join(dir, filepath.FromSlash(f.Target))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return done, err
		}
		if sum, err := fetch.Digest(to); err == nil && sum == f.SHA256 {
			continue
		}
		var addresses []string
		for _, c := range f.Candidates(f.Target) {
			addresses = append(addresses, fetch.Join(from, c))
		}
		if err := client.Download(ctx, to, f.File, 0o644, addresses...); err != nil {
			return done, err
		}
		done.Fetched++
	}
	return done, copyMetadata(ctx, client, check, from, dir, cat)
}

// copyMetadata writes what was trusted, byte by byte as it was fetched.
func copyMetadata(ctx context.Context, client *fetch.Client, check *trust.Client, from, dir string, cat *trust.Catalogue) error {
	for n := int64(1); n <= cat.Root; n++ {
		name := path.Join(trust.MetadataDir, strconv.FormatInt(n, 10)+".root.json")
		to := filepath.Join(dir, filepath.FromSlash(name))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		data, err := client.Get(ctx, fetch.Join(from, name), maxMetadata)
		var missing *fetch.StatusError
		if errors.As(err, &missing) && missing.Code == http.StatusNotFound {
			continue // roots before the one that we start from may be gone
		}
		if err != nil {
			return err
		}
		if err := atomicfile.WriteMkdir(to, data, 0o644, 0o755); err != nil {
			return err
		}
	}
	trusted, err := check.Trusted()
	if err != nil {
		return err
	}
	for _, f := range trusted {
		if err := atomicfile.WriteMkdir(filepath.Join(dir, trust.MetadataDir, f.Name), f.Data, 0o644, 0o755); err != nil {
			return err
		}
	}
	return nil
}
