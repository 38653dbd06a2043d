// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package disk is the builder "rightimage-disk": it customises a copy of a disk
// in a chroot on this machine, without a build instance, and publishes it.
package disk

import (
	"context"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// Builder is the source "rightimage-disk".
type Builder struct {
	config Config

	// Close ends a running build when Packer is gone: nobody else would unmount
	// the disk.
	step.Running
}

var _ packersdk.Builder = (*Builder)(nil)

// ConfigSpec returns the options for HCL2 templates.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the template's options, and reports all problems at
// once.
func (b *Builder) Prepare(raws ...any) (generated, warnings []string, err error) {
	problems := b.config.decode(raws...)
	problems = append(problems, b.config.prepare()...)
	packersdk.LogSecretFilter.Set(b.config.Secrets()...)
	return []string{"SourceImageURL", "RootPartition", "Architecture", "Everybody"}, nil, collect(problems)
}

// Run builds the disk. The steps undo what they made, in reverse order, however
// the build ends.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	ctx, end := b.Begin(ctx)
	defer end()
	state := new(multistep.BasicStateBag)
	state.Put("ui", ui)
	state.Put("hook", hook)

	f := &flow{started: time.Now(), config: &b.config, user: run.Exec{}, root: wrapper{template: b.config.CommandWrapper, exec: run.Exec{}}}
	step.Run(ctx, f.steps(), b.config.PackerConfig, ui, state)

	if err := step.Outcome(ctx, state); err != nil {
		return nil, err
	}
	return f.artifact(state), nil
}
