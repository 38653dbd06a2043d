// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Entry is what the catalogue says of a finished build: what the caller knows,
// with the images of result.
func (c Config) Entry(result *Result) catalogue.Entry {
	e := c.About
	if e.Built.IsZero() {
		e.Built = time.Now().UTC().Truncate(time.Second)
	}
	e.BuiltBy = cmp.Or(e.BuiltBy, "packer-plugin-rightimage "+version.String())
	e.Architecture = cmp.Or(e.Architecture, c.AMIArchitecture)
	e.Images = map[string]catalogue.Image{}
	if result != nil {
		e.Name, e.Family, e.PublishID = cmp.Or(result.Name, e.Name), c.Family, result.PublishID
		e.Seconds, e.Images = result.Seconds, maps.Clone(result.Images)
		e.DiskDigest, e.Proofs = result.DiskDigest, result.Proofs
	}
	return e
}

// record adds the images to catalogue_file.
func (p *Publisher) record(_ context.Context, b *build) error {
	if p.CatalogueFile == "" {
		return nil
	}
	entry := p.Entry(p.result(b)).Beside(p.CatalogueFile)
	b.owed.Owe("the entry of "+p.publishID+" in "+p.CatalogueFile, "", func(context.Context) error {
		return catalogue.Update(p.CatalogueFile, func(f *catalogue.File) error {
			f.Drop(p.publishID)
			return nil
		})
	})
	return catalogue.Update(p.CatalogueFile, func(f *catalogue.File) error {
		f.Put(entry)
		return nil
	})
}
