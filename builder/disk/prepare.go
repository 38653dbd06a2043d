// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
)

// BuilderID identifies artifacts of this builder to post-processors.
const BuilderID = "rightimage.disk"

// decode reads the template's options. Unknown options come back as problems
// beside the decoded rest, so that Prepare can report everything at once.
func (c *Config) decode(raws ...any) []error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: append(publish.Late(), "command_wrapper")},
	}, raws...)
	if err == nil {
		return nil
	}
	var several *multierror.Error
	if errors.As(err, &several) {
		return several.Errors
	}
	return []error{err}
}

// prepare sets defaults and returns every problem of the template: the option's
// name, the rule, the value, the remedy.
func (c *Config) prepare() (problems []error) {
	problems = append(problems, c.prepareInput()...)
	problems = append(problems, c.prepareSize()...)
	problems = append(problems, c.prepareOutput()...)
	problems = append(problems, c.prepareChroot()...)
	problems = append(problems, c.prepareReproducible()...)
	c.TemplateContext = c.ctx
	problems = append(problems, c.PrepareDisk()...)
	if !c.Wanted() {
		problems = append(problems, c.PrepareProof()...)
	}
	if runtime.GOOS != "linux" {
		problems = append(problems, fmt.Errorf("the builder rightimage-disk mounts the disk and needs Linux; this is %s", runtime.GOOS))
	}
	return problems
}

// prepareInput checks where the disk comes from. A checksum file is fetched here,
// when all the rest is right.
func (c *Config) prepareInput() (problems []error) {
	urls := c.inputs()
	switch {
	case len(urls) == 0:
		problems = append(problems, errors.New("iso_url: missing: give the path or http(s) URL of a raw, qcow2 or vmdk disk"))
	case c.ISOURL != "" && len(c.ISOURLs) > 0:
		problems = append(problems, errors.New("iso_url and iso_urls: both are set; keep one of them"))
	}
	remote := false
	for _, u := range urls {
		if path, local := localPath(u); !local {
			remote = true
			if !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
				problems = append(problems, fmt.Errorf("iso_url: %s: give a path or an http(s) URL", u))
			}
		} else if info, err := os.Stat(path); err != nil {
			problems = append(problems, fmt.Errorf("iso_url: %s: there is no such file on this machine", u))
		} else if !info.Mode().IsRegular() {
			problems = append(problems, fmt.Errorf("iso_url: %s is not a file", u))
		}
	}
	switch {
	case c.ISOChecksum == "":
		problems = append(problems, errors.New(`iso_checksum: missing: give "sha256:…" (sha256sum prints it), "file:URL" of a checksum file, or "none" for a local disk`))
	case !plausibleChecksum(c.ISOChecksum):
		problems = append(problems, fmt.Errorf(`iso_checksum: %q is not a checksum: give the hexadecimal digits of an MD5, SHA-1, SHA-256 or SHA-512 sum, "file:URL", or "none"`, c.ISOChecksum))
	case c.ISOChecksum == "none" && remote:
		problems = append(problems, errors.New(`iso_checksum: "none" is for local disks only; give the checksum of what iso_url downloads`))
	}
	if len(problems) > 0 {
		return problems
	}
	if strings.HasPrefix(c.ISOChecksum, "file:") {
		sum, err := checksumOf(context.Background(), urls[0], c.ISOChecksum)
		if err != nil {
			return []error{fmt.Errorf("iso_checksum: %s: %w", c.ISOChecksum, err)}
		}
		c.ISOChecksum = sum
	}
	return nil
}

// inputs are the places that the disk can be had from, in order.
func (c *Config) inputs() []string {
	if c.ISOURL != "" {
		return append([]string{c.ISOURL}, c.ISOURLs...)
	}
	return c.ISOURLs
}

// plausibleChecksum catches a checksum that is cut off or has typing errors,
// which would only show when the download is done.
func plausibleChecksum(s string) bool {
	if s == "none" || strings.HasPrefix(s, "file:") {
		return true
	}
	lengths := map[string]int{"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
	kind, digits, typed := strings.Cut(s, ":")
	if !typed {
		digits = s
	}
	if _, err := hex.DecodeString(digits); err != nil {
		return false
	}
	for k, n := range lengths {
		if len(digits) == n && (!typed || strings.EqualFold(kind, k)) {
			return true
		}
	}
	return false
}

// localPath returns the path of a URL that names a local file.
func localPath(u string) (path string, local bool) {
	if p, ok := strings.CutPrefix(u, "file://"); ok {
		return p, true
	}
	return u, !strings.Contains(u, "://") && !strings.Contains(u, "::")
}

func (c *Config) prepareSize() (problems []error) {
	if c.DiskFormat != "" && !slices.Contains(diskfile.Formats(), c.DiskFormat) {
		problems = append(problems, fmt.Errorf("disk_format: %q is not supported; it is one of %s, or leave it out", c.DiskFormat, strings.Join(diskfile.Formats(), ", ")))
	}
	if c.DiskSize != "" {
		size, err := parseSize(c.DiskSize)
		if err != nil {
			problems = append(problems, fmt.Errorf("disk_size: %w", err))
		}
		c.sizeBytes = size
	}
	if c.RootPartition < 0 || c.RootPartition > 128 {
		problems = append(problems, fmt.Errorf("root_partition: %d is not a partition number; use 1 to 128, or leave it out", c.RootPartition))
	}
	return problems
}

// parseSize reads "8G", "8GiB", "512M" or a number of MiB.
func parseSize(s string) (int64, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "IB"), "B")
	shift := 20
	for suffix, n := range map[string]int{"M": 20, "G": 30, "T": 40} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, shift = rest, n
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > 64<<40>>shift {
		return 0, fmt.Errorf("%q is not a size between 1M and 64T; write it like 8G or 20480M", s)
	}
	return n << shift, nil
}

func (c *Config) prepareOutput() (problems []error) {
	name := c.PackerBuildName
	if name == "" {
		name = "disk"
	}
	if c.OutputDirectory == "" {
		c.OutputDirectory = "output-" + name
	}
	if c.OutputFilename == "" {
		c.OutputFilename = name + ".raw"
	}
	if c.OutputFilename != filepath.Base(c.OutputFilename) || c.OutputFilename == "." || c.OutputFilename == ".." {
		return []error{fmt.Errorf("output_filename: %q is not a plain file name; put the directory into output_directory", c.OutputFilename)}
	}
	if c.OutputFilename == catalogueName {
		problems = append(problems, fmt.Errorf("output_filename: %s is the name of the catalogue; choose another", catalogueName))
	}
	if info, err := os.Stat(c.OutputDirectory); err == nil && !info.IsDir() {
		problems = append(problems, fmt.Errorf("output_directory: %s is a file; choose another name", c.OutputDirectory))
	}
	if _, err := os.Stat(c.outputPath()); err == nil && !c.PackerForce {
		problems = append(problems, fmt.Errorf("output_directory: %s exists; choose another name, remove it, or run packer build -force to replace it", c.outputPath()))
	}
	return problems
}

// outputPath is where the finished disk goes.
func (c *Config) outputPath() string { return filepath.Join(c.OutputDirectory, c.OutputFilename) }

func (c *Config) prepareChroot() (problems []error) {
	if c.ChrootMounts == nil {
		c.ChrootMounts = defaultMounts()
	}
	for i, m := range c.ChrootMounts {
		if len(m) != 3 || m[0] == "" || m[1] == "" || !filepath.IsAbs(m[2]) {
			problems = append(problems, fmt.Errorf(`chroot_mounts: entry %d is %q; each is [type, source, absolute mount point], such as ["proc", "proc", "/proc"]`, i+1, m))
		}
	}
	if c.CopyFiles == nil {
		// A machine without the default file simply lends nothing.
		if _, err := os.Stat(defaultCopyFile); err == nil {
			c.CopyFiles = []string{defaultCopyFile}
		}
	}
	for _, f := range c.CopyFiles {
		if info, err := os.Stat(f); !filepath.IsAbs(f) || err != nil || !info.Mode().IsRegular() {
			problems = append(problems, fmt.Errorf("copy_files: %q: it must be the absolute path of a file on this machine", f))
		}
	}
	if c.CommandWrapper == "" {
		c.CommandWrapper = defaultRootWrapper
		if os.Geteuid() != 0 {
			c.CommandWrapper = defaultUserWrapper
		}
	}
	if err := checkWrapper(c.CommandWrapper); err != nil {
		problems = append(problems, fmt.Errorf("command_wrapper: %w", err))
	}
	return problems
}

// collect turns problems into the one error that Packer prints.
func collect(problems []error) error {
	if len(problems) == 0 {
		return nil
	}
	return packersdk.MultiErrorAppend(nil, problems...)
}
