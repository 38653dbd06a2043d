// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// catalogueName is the file in output_directory that tells scripts what a build
// made.
const catalogueName = "rightimage-catalog.json"

// catalogue is the build as data.
type catalogue struct {
	Name         string                   `json:"name"`
	Built        time.Time                `json:"built"`
	BuiltBy      string                   `json:"built_by"`
	OS           catalogueOS              `json:"os"`
	Architecture string                   `json:"architecture"`
	Source       catalogueSource          `json:"source"`
	Disk         catalogueDisk            `json:"disk"`
	Images       map[string]publish.Image `json:"images"`
}

type catalogueOS struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Name    string `json:"name"`
}

type catalogueSource struct {
	URL      string `json:"url"`
	Checksum string `json:"checksum,omitempty"`
}

type catalogueDisk struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// finish gives the disk its final name and writes the catalogue. Until here the
// output directory has what it had before the build.
func (f *flow) finish(ctx context.Context, j *step.Job) error {
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	size, sum, err := digest(ctx, work)
	if err != nil {
		return err
	}
	c := f.catalogue(j)
	c.Disk = catalogueDisk{File: f.config.OutputFilename, Size: size, SHA256: sum}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	// A disk image is no secret of the user who made it.
	if err := os.Chmod(work, 0o644); err != nil {
		return err
	}
	if err := os.Rename(work, f.config.outputPath()); err != nil {
		return err
	}
	j.Owe("disk "+f.config.outputPath(), func(context.Context) error {
		if !step.Failed(j.State) {
			return nil
		}
		return os.Remove(f.config.outputPath())
	})
	return atomicfile.Write(filepath.Join(f.config.OutputDirectory, catalogueName), append(data, '\n'), 0o644)
}

func (f *flow) catalogue(j *step.Job) catalogue {
	c := catalogue{
		Name:    f.config.PackerBuildName,
		Built:   time.Now().UTC().Truncate(time.Second),
		BuiltBy: "packer-plugin-rightimage " + version.String(),
		Images:  map[string]publish.Image{},
	}
	p := f.provenance(j)
	c.Source = catalogueSource{URL: p["source"], Checksum: p["source-checksum"]}
	if g, err := keyGuest.Get(j.State); err == nil {
		c.OS = catalogueOS{ID: g.ID, Version: g.Version, Name: g.Name}
		c.Architecture = g.Arch
	}
	if r, err := keyResult.Get(j.State); err == nil {
		c.Images = r.Images
	}
	return c
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
