// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package datasource is the data source "rightimage-ami": the newest image of a
// family in a region.
package datasource

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/zclconf/go-cty/cty"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// timeLimit bounds the whole search: Packer gives data sources no way to be
// cancelled.
const timeLimit = 5 * time.Minute

// tagFamily is the tag that the builders' option family sets.
const tagFamily = "rightimage:family"

// Datasource is the data source "rightimage-ami".
type Datasource struct{ config Config }

var _ packersdk.Datasource = (*Datasource)(nil)

// ConfigSpec returns the options for HCL2 templates.
func (d *Datasource) ConfigSpec() hcldec.ObjectSpec { return d.config.FlatMapstructure().HCL2Spec() }

// OutputSpec returns what templates can ask for.
func (*Datasource) OutputSpec() hcldec.ObjectSpec { return new(Output).FlatMapstructure().HCL2Spec() }

// Configure reads and checks the template's options, and reports all problems
// at once.
func (d *Datasource) Configure(raws ...any) error {
	err := d.config.prepare(raws...)
	packersdk.LogSecretFilter.Set(publish.Config{AccessConfig: d.config.AccessConfig}.Secrets()...)
	return err
}

// Execute finds the image.
func (d *Datasource) Execute() (cty.Value, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeLimit)
	defer cancel()
	out, err := d.find(ctx)
	if err != nil {
		return cty.NullVal(cty.EmptyObject), err
	}
	return hcl2helper.HCL2ValueFromConfig(*out, d.OutputSpec()), nil
}

func (d *Datasource) find(ctx context.Context) (*Output, error) {
	if d.config.CatalogueFile != "" {
		return d.config.fromCatalogue()
	}
	access := publish.Config{AccessConfig: d.config.AccessConfig}
	factory, err := awsx.New(ctx, access.AWS())
	if err != nil {
		return nil, err
	}
	out, err := d.config.fromEC2(ctx, factory.EC2(d.config.Region))
	if err != nil && awsx.Class(err) != awsx.Fatal {
		err = factory.Explain("look for the newest image of family "+d.config.Family, d.config.Region, err)
	}
	return out, err
}

func (c *Config) fromCatalogue() (*Output, error) {
	file, err := catalogue.Read(c.CatalogueFile)
	if err != nil {
		return nil, err
	}
	e, ok := file.Newest(c.Family, c.Architecture, c.Region)
	if !ok {
		return nil, fmt.Errorf("catalogue_file: %s, with %d entries, has no image of family %q%s in %s", c.CatalogueFile, len(file.Entries), c.Family, c.ofArchitecture(), c.Region)
	}
	image := e.Images[c.Region]
	return &Output{
		ID: image.ImageID, Name: e.Name, CreationDate: e.Built.UTC().Format(time.RFC3339), Tags: map[string]string{},
		SnapshotIDs: image.SnapshotIDs, Architecture: e.Architecture, Region: c.Region,
	}, nil
}

// fromEC2 asks for all images that match: EC2 does not sort.
func (c *Config) fromEC2(ctx context.Context, api ec2.DescribeImagesAPIClient) (*Output, error) {
	in := &ec2.DescribeImagesInput{Owners: c.Owners, Filters: c.filters()}
	if c.IncludeDeprecated {
		in.IncludeDeprecated = aws.Bool(true)
	}
	var found []types.Image
	for pages := ec2.NewDescribeImagesPaginator(api, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx, awsx.Quick)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Images...)
	}
	if len(found) == 0 {
		hint := ""
		if !c.IncludeDeprecated {
			hint = "; deprecated ones count with include_deprecated = true"
		}
		return nil, fmt.Errorf("no available image of family %q%s of %s is in %s%s", c.Family, c.ofArchitecture(), strings.Join(c.Owners, ", "), c.Region, hint)
	}
	// Dates are RFC 3339 in UTC, so that their order is that of their letters.
	newest := slices.MaxFunc(found, func(a, b types.Image) int {
		return strings.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	})
	return c.output(newest), nil
}

func (c *Config) ofArchitecture() string {
	if c.Architecture == "" {
		return ""
	}
	return " for " + c.Architecture
}

// filters are ours, but for those that the template gives itself.
func (c *Config) filters() []types.Filter {
	want := map[string]string{"state": "available"}
	if c.Family != "" {
		want["tag:"+tagFamily] = c.Family
	}
	if c.Architecture != "" {
		want["architecture"] = c.Architecture
	}
	maps.Copy(want, c.Filters)
	var out []types.Filter
	for _, name := range slices.Sorted(maps.Keys(want)) {
		values := strings.Split(want[name], ",")
		if strings.HasPrefix(name, "tag:"+tagFamily) {
			values = []string{want[name]} // a family's name may have a comma
		}
		out = append(out, types.Filter{Name: aws.String(name), Values: values})
	}
	return out
}

func (c *Config) output(i types.Image) *Output {
	out := &Output{
		ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), CreationDate: aws.ToString(i.CreationDate), Owner: aws.ToString(i.OwnerId),
		Tags: map[string]string{}, Architecture: string(i.Architecture), Region: c.Region,
	}
	for _, t := range i.Tags {
		out.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && d.Ebs.SnapshotId != nil {
			out.SnapshotIDs = append(out.SnapshotIDs, *d.Ebs.SnapshotId)
		}
	}
	return out
}
