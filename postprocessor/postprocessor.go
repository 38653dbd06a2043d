// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package postprocessor is the post-processor "rightimage-publish": it makes AMIs
// of the disk that a build left.
package postprocessor

import (
	"context"
	"fmt"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/fromfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// PostProcessor is the post-processor "rightimage-publish".
type PostProcessor struct {
	config Config

	// Close ends a running publication when Packer is gone.
	step.Running
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// ConfigSpec returns the options for HCL2 templates.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure reads and checks the template's options, and reports all problems
// at once.
func (p *PostProcessor) Configure(raws ...any) error {
	err := p.config.prepare(raws...)
	packersdk.LogSecretFilter.Set(p.config.Secrets()...)
	return err
}

// PostProcess publishes the disk of an artifact. Unless the template says
// otherwise the artifact stays: an AMI is no other form of it, and its disk is
// what the next upload builds on.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, source packersdk.Artifact) (made packersdk.Artifact, keep, force bool, err error) {
	ctx, end := p.Begin(ctx)
	defer end()
	c := p.config
	c.ctx.Data = source.State("generated_data")
	c.TemplateContext = c.ctx
	if c.Disk, err = interpolate.Render(c.Disk, &c.ctx); err != nil {
		return nil, true, false, fmt.Errorf("disk: %w", err)
	}
	disk, err := c.choose(source)
	if err != nil {
		return nil, true, false, err
	}
	factory, err := awsx.New(ctx, c.AWS())
	if err != nil {
		return nil, true, false, err
	}
	c.TemplateData = words(c.ctx.Data)
	job := fromfile.Job{Path: disk, Format: c.DiskFormat, Config: c.Config, TempDir: c.TempDirectory, UI: ui}
	result, err := job.Publish(ctx, factory)
	if err != nil {
		return nil, true, false, err
	}
	return &Artifact{Published: result, StateData: map[string]any{"generated_data": c.ctx.Data}, access: c.AWS()}, true, false, nil
}

// words are the values of a build as templates ask for them.
func words(data any) map[string]any {
	out := map[string]any{}
	switch data := data.(type) {
	case map[string]any:
		return data
	case map[any]any:
		for k, v := range data {
			out[fmt.Sprint(k)] = v
		}
	}
	return out
}
