// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package disk is the builder "rightimage-disk": it customises a copy of a disk
// in a chroot on this machine, without a build instance, and publishes it.
package disk

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// Builder is the source "rightimage-disk".
type Builder struct {
	config Config

	mu     sync.Mutex
	cancel context.CancelFunc // of the running build
	ended  chan struct{}      // closed when the running build has ended
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
	return []string{"SourceImageURL", "RootPartition", "Architecture"}, nil, collect(problems)
}

// Close cancels a running build and waits until it has undone what it made. It
// is for a plugin whose Packer is gone: nobody else would unmount the disk.
func (b *Builder) Close() {
	b.mu.Lock()
	cancel, ended := b.cancel, b.ended
	b.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

// begin makes the build known to Close; the returned function ends it.
func (b *Builder) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	b.mu.Lock()
	b.cancel, b.ended = cancel, ended
	b.mu.Unlock()
	return ctx, func() { cancel(); close(ended) }
}

// Run builds the disk. The steps undo what they made, in reverse order, however
// the build ends.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	ctx, end := b.begin(ctx)
	defer end()
	state := new(multistep.BasicStateBag)
	state.Put("ui", ui)
	state.Put("hook", hook)

	f := &flow{config: &b.config, user: run.Exec{}, root: wrapper{template: b.config.CommandWrapper, exec: run.Exec{}}}
	commonsteps.NewRunner(f.steps(), b.config.PackerConfig, ui).Run(ctx, state)

	if err, ok := state.Get("error").(error); ok {
		return nil, err
	}
	if _, ok := state.GetOk(multistep.StateCancelled); ok {
		return nil, errors.New("the build was cancelled")
	}
	if _, ok := state.GetOk(multistep.StateHalted); ok {
		return nil, errors.New("the build was halted")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("the build was cancelled: %w", err)
	}
	return f.artifact(state), nil
}
