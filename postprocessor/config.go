// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config

package postprocessor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
)

// Config is what a template tells the post-processor "rightimage-publish".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Path of the disk. Default: the one disk among the files of the build.
	Disk string `mapstructure:"disk"`
	// Which of the disks among the files of the build, counted from 1 in the
	// build's order. Needed when there are several.
	DiskIndex int `mapstructure:"disk_index"`
	// Format of the disk: `raw`, `qcow2` or `vmdk`. Default: recognised by its first
	// bytes.
	DiskFormat string `mapstructure:"disk_format"`
	// Directory for the raw copy of a disk that is not raw. Default: the disk's.
	TempDirectory string `mapstructure:"temp_directory"`

	publish.Config `mapstructure:",squash"`

	ctx interpolate.Context
}

// late are the options that are filled in when the build's results are known.
func late() []string { return append(publish.Late(), "disk") }

func (c *Config) prepare(raws ...any) error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: late()},
	}, raws...)
	problems := []error{err}
	if !c.Wanted() {
		problems = append(problems, errors.New("region: missing: name the region, or regions, that get the image"))
	}
	if c.Disk != "" && c.DiskIndex != 0 {
		problems = append(problems, fmt.Errorf("disk_index: is %d although disk is set: leave one of them out", c.DiskIndex))
	}
	if c.DiskIndex < 0 {
		problems = append(problems, fmt.Errorf("disk_index: must be 1 or more, is %d", c.DiskIndex))
	}
	if c.DiskFormat != "" && !slices.Contains(diskfile.Formats(), c.DiskFormat) {
		problems = append(problems, fmt.Errorf("disk_format: %q is not supported: use %s, or leave it out", c.DiskFormat, strings.Join(diskfile.Formats(), ", ")))
	}
	c.TemplateContext = c.ctx
	return errors.Join(append(problems, c.PrepareDisk()...)...)
}
