// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config,Output

package datasource

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

// Config is what a template tells the data source "rightimage-ami".
type Config struct {
	publish.AccessConfig `mapstructure:",squash"`

	// Name of the family: the tag `rightimage:family` that the option `family` of
	// the builders gives.
	Family string `mapstructure:"family"`
	// Take the image from this catalogue file instead of asking EC2. It knows no
	// owner and no tags.
	CatalogueFile string `mapstructure:"catalogue_file"`
	// Whose images count: account ids, `self` (the default), `amazon` or
	// `aws-marketplace`.
	Owners []string `mapstructure:"owners"`
	// Filters of DescribeImages besides the family, such as `name = "web-*"`. Several
	// values are separated by commas.
	Filters map[string]string `mapstructure:"filters"`
	// Architecture of the image, `x86_64` or `arm64`. Default: any.
	Architecture string `mapstructure:"architecture"`
	// Deprecated images count as well.
	IncludeDeprecated bool `mapstructure:"include_deprecated"`
}

// Output is what the data source tells.
type Output struct {
	// Id of the image.
	ID string `mapstructure:"id"`
	// Name of the image.
	Name string `mapstructure:"name"`
	// When it was made, as RFC 3339.
	CreationDate string `mapstructure:"creation_date"`
	// Account id of the owner.
	Owner string `mapstructure:"owner"`
	// Its tags.
	Tags map[string]string `mapstructure:"tags"`
	// Ids of its snapshots.
	SnapshotIDs []string `mapstructure:"snapshot_ids"`
	// Architecture of the image.
	Architecture string `mapstructure:"architecture"`
	// The region that it is in.
	Region string `mapstructure:"region"`
}

func (c *Config) prepare(raws ...any) error {
	problems := []error{config.Decode(c, nil, raws...)}
	add := func(text string, args ...any) { problems = append(problems, fmt.Errorf(text, args...)) }
	if c.Region == "" {
		add("region: missing: name the region of the image")
	}
	if c.Family == "" && (c.CatalogueFile != "" || len(c.Filters) == 0) {
		add("family: missing: give the family that the builders' option of the same name set")
	}
	if c.Architecture != "" && !slices.Contains([]string{"x86_64", "arm64"}, c.Architecture) {
		add("architecture: is %q: use x86_64 or arm64, or leave it out", c.Architecture)
	}
	if c.CatalogueFile != "" && (len(c.Owners) > 0 || len(c.Filters) > 0 || c.IncludeDeprecated) {
		add("catalogue_file: is %q, and a catalogue knows no owners, filters or deprecation: leave owners, filters and include_deprecated out", c.CatalogueFile)
	}
	if len(c.Owners) == 0 {
		c.Owners = []string{"self"}
	}
	return errors.Join(problems...)
}
