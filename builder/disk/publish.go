// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"net/url"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// publishImage uploads the finished disk and registers it in the target
// regions. When a later step fails, the images go again.
func (f *flow) publishImage(ctx context.Context, j *step.Job) error {
	if !f.config.Wanted() {
		return nil
	}
	work, err := keyWork.Get(j.State)
	if err != nil {
		return err
	}
	config := f.config.Config
	if config.AMIArchitecture == "" {
		config.AMIArchitecture = f.guestArch(j)
	}
	config.Provenance = f.provenance(j)
	factory, err := awsx.New(ctx, config.AWS())
	if err != nil {
		return err
	}
	result, err := publish.Publish(ctx, factory, work, config, j.UI)
	if err != nil {
		return err
	}
	keyResult.Put(j.State, result)
	j.Owe("published images", func(ctx context.Context) error {
		if !step.Failed(j.State) {
			return nil
		}
		return result.Destroy(ctx, factory)
	})
	return nil
}

// provenance says where the image comes from, for its tags.
func (f *flow) provenance(j *step.Job) map[string]string {
	out := map[string]string{}
	if source, ok := j.State.Get("SourceImageURL").(string); ok {
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
