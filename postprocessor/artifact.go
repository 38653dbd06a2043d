// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package postprocessor

import (
	"context"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// BuilderID identifies artifacts of this post-processor to others.
const BuilderID = "rightimage.post-processor.publish"

// Artifact is the images that were made.
type Artifact struct {
	Published *publish.Result
	// StateData is handed to post-processors that follow.
	StateData map[string]any

	access awsx.Config
}

var _ packersdk.Artifact = (*Artifact)(nil)

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID } //nolint:revive // the interface's spelling

// Files implements packersdk.Artifact: an AMI has none.
func (*Artifact) Files() []string { return nil }

// Id implements packersdk.Artifact: "region:ami,…", sorted by region.
func (a *Artifact) Id() string { return a.Published.ID() } //nolint:revive // the interface's spelling

// String implements packersdk.Artifact.
func (a *Artifact) String() string { return a.Published.String() }

// State implements packersdk.Artifact. HCP Packer asks it for the images.
func (a *Artifact) State(name string) any {
	if name == registryimage.ArtifactStateURI {
		return a.Published.Registry()
	}
	return a.StateData[name]
}

// Destroy implements packersdk.Artifact: it removes the images with their
// snapshots.
func (a *Artifact) Destroy() error {
	ctx, cancel := context.WithTimeout(context.Background(), step.UndoLimit)
	defer cancel()
	factory, err := awsx.New(ctx, a.access)
	if err != nil {
		return err
	}
	return a.Published.Destroy(ctx, factory)
}
