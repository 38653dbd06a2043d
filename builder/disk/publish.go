// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"cmp"
	"context"
	"net/url"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// checkRegions asks the target regions, before anything is downloaded, what
// would stop the publication at its end.
func (f *flow) checkRegions(ctx context.Context, j *step.Job) error {
	p, err := f.publisher(ctx, j)
	if p == nil || err != nil {
		return err
	}
	return p.Precheck(ctx)
}

// publisher is ready to publish what is known of the image so far; nil when no
// region is given.
func (f *flow) publisher(ctx context.Context, j *step.Job) (*publish.Publisher, error) {
	if !f.config.Wanted() {
		return nil, nil //nolint:nilnil // nothing is to be published
	}
	config := f.publishing(j)
	factory, err := awsx.New(ctx, config.AWS())
	if err != nil {
		return nil, err
	}
	return publish.New(factory, config, j.UI)
}

// publishing are the options of the publication with what the build knows.
func (f *flow) publishing(j *step.Job) publish.Config {
	config := f.config.Config
	p := f.provenance(j)
	config.Provenance = p
	config.DiskName = f.config.outputPath()
	config.Inspected = true // inspect comes before
	config.Maker, config.Started = "rightimage-disk", f.started
	if inv, err := keyInventory.Get(j.State); err == nil {
		config.Inventory = func(context.Context, string) (*sbom.Inventory, error) { return inv, nil }
	}
	config.About = catalogue.Entry{Name: f.config.PackerBuildName, Source: catalogue.Source{URL: p["source"], Checksum: p["source-checksum"]}}
	if g, err := keyGuest.Get(j.State); err == nil {
		config.About.OS = catalogue.OS{ID: g.ID, Version: g.Version, Name: g.Name}
		config.About.Architecture = g.Arch
		config.AMIArchitecture = cmp.Or(config.AMIArchitecture, f.guestArch(j))
		config.TemplateData = map[string]any{
			"OSID": g.ID, "OSVersion": g.Version, "OSName": g.Name, "Architecture": g.Arch,
			"Source": p["source"], "SourceChecksum": p["source-checksum"],
		}
	}
	return config
}

// inspect searches the blocks of the finished disk, whether it is published or
// not: who gets it can read all of them.
func (f *flow) inspect(ctx context.Context, j *step.Job) error {
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	config := f.publishing(j)
	config.BuildSecrets = publish.SensitiveValues(f.config.PackerConfig)
	return config.Inspect(ctx, work, func(text string) { j.UI.Say(text) })
}

// publishImage uploads the finished disk and publishes images of it. The disk
// gets its place while they can still be undone.
func (f *flow) publishImage(ctx context.Context, j *step.Job) error {
	p, err := f.publisher(ctx, j)
	if p == nil || err != nil {
		return err
	}
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	p.BeforeCommit = func(ctx context.Context, result *publish.Result) error {
		keyResult.Put(j.State, result)
		return f.finish(ctx, j)
	}
	result, err := p.Disk(ctx, work)
	if err == nil && len(result.Images) > 0 {
		keyResult.Put(j.State, result)
	}
	return err
}

// provenance says where the image comes from, for its tags.
func (f *flow) provenance(j *step.Job) map[string]string {
	out := map[string]string{}
	if source, err := keySource.Get(j.State); err == nil {
		out["source"] = redactURL(source)
	}
	if f.config.ISOChecksum != "none" {
		out["source-checksum"] = f.config.ISOChecksum
	}
	if g, err := keyGuest.Get(j.State); err == nil && g.ID != "" {
		out["os"] = g.ID + " " + g.Version
	}
	return out
}

// redactURL drops what may be secret in a URL: user, password and query.
func redactURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return s
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
