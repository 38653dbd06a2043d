// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// Artifact is what a build made: an image in every region, or nothing with
// skip_create_ami.
type Artifact struct {
	// Published are the images; nil with skip_create_ami.
	Published *publish.Result
	// StateData is handed to post-processors.
	StateData map[string]any

	access awsx.Config
}

var _ packersdk.Artifact = (*Artifact)(nil)

// artifact turns the state of a finished build into its artifact.
func (f *flow) artifact(state multistep.StateBag) (packersdk.Artifact, error) {
	a := &Artifact{StateData: map[string]any{"generated_data": state.Get("generated_data")}, access: f.config.AWS()}
	if f.config.SkipCreateAMI {
		return a, nil
	}
	result, err := keyResult.Get(state)
	a.Published = result
	return a, err
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID } //nolint:revive // the interface's spelling

// Files implements packersdk.Artifact.
func (*Artifact) Files() []string { return nil }

// Id implements packersdk.Artifact: "region:ami,…" in the order of the regions.
func (a *Artifact) Id() string { //nolint:revive // the interface's spelling
	if a.Published == nil {
		return ""
	}
	return a.Published.ID()
}

// String implements packersdk.Artifact.
func (a *Artifact) String() string {
	if a.Published == nil {
		return "No AMI was made (skip_create_ami)"
	}
	return a.Published.String()
}

// State implements packersdk.Artifact. HCP Packer asks it for the images.
func (a *Artifact) State(name string) any {
	if name == registryimage.ArtifactStateURI && a.Published != nil {
		return a.Published.Registry()
	}
	return a.StateData[name]
}

// Destroy implements packersdk.Artifact: it removes the images with their
// snapshots, and goes on past errors.
func (a *Artifact) Destroy() error {
	if a.Published == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), step.UndoLimit)
	defer cancel()
	factory, err := awsx.New(ctx, a.access)
	if err != nil {
		return err
	}
	return a.Published.Destroy(ctx, factory)
}
