// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// Artifact is what a build made: a disk, and images when regions were given.
type Artifact struct {
	// Disk is the path of the raw disk; the catalogue lies beside it.
	Disk string
	// Proofs are the paths of bill of materials, block list and provenance.
	Proofs []string
	// Published are the images; nil when no region was given.
	Published *publish.Result
	// StateData is handed to post-processors.
	StateData map[string]any

	access awsx.Config
}

var _ packersdk.Artifact = (*Artifact)(nil)

func (f *flow) artifact(state multistep.StateBag) *Artifact {
	a := &Artifact{
		Disk:      f.config.outputPath(),
		StateData: map[string]any{"generated_data": state.Get("generated_data")},
		access:    f.config.AWS(),
	}
	if r, err := keyResult.Get(state); err == nil {
		a.Published = r
		for _, p := range r.Proofs {
			a.Proofs = append(a.Proofs, p.File)
		}
	}
	if proofs, err := keyProofs.Get(state); err == nil {
		for _, p := range proofs {
			a.Proofs = append(a.Proofs, p.File)
		}
	}
	return a
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID } //nolint:revive // the interface's spelling

// Files implements packersdk.Artifact.
func (a *Artifact) Files() []string {
	return append([]string{a.Disk, filepath.Join(filepath.Dir(a.Disk), catalogueName)}, a.Proofs...)
}

// Id implements packersdk.Artifact: "region:ami,…" in the order of the regions,
// or the disk's name when nothing was published.
func (a *Artifact) Id() string { //nolint:revive // the interface's spelling
	if a.Published == nil {
		return filepath.Base(a.Disk)
	}
	return a.Published.ID()
}

// String implements packersdk.Artifact.
func (a *Artifact) String() string {
	text := "Disk: " + a.Disk
	if a.Published != nil {
		text = a.Published.String() + "\n" + text
	}
	return text
}

// State implements packersdk.Artifact. HCP Packer asks it for the images.
func (a *Artifact) State(name string) any {
	if name == registryimage.ArtifactStateURI && a.Published != nil {
		return a.Published.Registry()
	}
	return a.StateData[name]
}

// Destroy implements packersdk.Artifact: it removes the images with their
// snapshots, the disk and the catalogue, and goes on past errors.
func (a *Artifact) Destroy() error {
	var errs []error
	if a.Published != nil {
		ctx, cancel := context.WithTimeout(context.Background(), step.UndoLimit)
		defer cancel()
		factory, err := awsx.New(ctx, a.access)
		if err == nil {
			err = a.Published.Destroy(ctx, factory)
		}
		errs = append(errs, err)
	}
	for _, file := range a.Files() {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(filepath.Dir(a.Disk)) // only goes when it is empty
	return errors.Join(errs...)
}
