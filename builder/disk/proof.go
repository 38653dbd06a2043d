// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// takeInventory lists what is in the image while it is mounted for the last
// time.
func (f *flow) takeInventory(ctx context.Context, j *step.Job, dir string) error {
	if f.config.SBOM.False() {
		return nil
	}
	inv, err := sbom.Read(ctx, dir, sbom.Options{})
	switch {
	case err != nil && (f.config.SBOM.True() || ctx.Err() != nil):
		return fmt.Errorf("sbom: %w", err)
	case err != nil:
		j.UI.Say(fmt.Sprintf("No bill of materials is written: %v", err))
	default:
		keyInventory.Put(j.State, inv)
	}
	return nil
}

// prove writes the proofs of a disk that is not published. Those of one that is
// are written before anybody else can see its images.
func (f *flow) prove(ctx context.Context, j *step.Job, work string) ([]catalogue.Proof, string, error) {
	config := f.publishing(j)
	inv, err := config.TakeInventory(ctx, work, j.UI.Say)
	if err != nil {
		return nil, "", err
	}
	of := publish.Proven{Name: f.config.OutputFilename, Inventory: inv, Put: func(path string, data []byte) error {
		undo, err := publish.PutFile(path, data)
		j.Owe("file "+path, func(context.Context) error {
			if !step.Failed(j.State) {
				return nil
			}
			return undo()
		})
		return err
	}}
	if !config.WriteProvenance.False() {
		disk, err := sparse.Open(work)
		if err != nil {
			return nil, "", err
		}
		defer disk.Close() //nolint:errcheck // only read
		of.VolumeGiB = disk.SizeGiB()
		if of.Blocks, err = attest.Blocks(ctx, disk, nil); err != nil {
			return nil, "", err
		}
	}
	proofs, digest, err := config.Prove(of)
	if err == nil {
		keyProofs.Put(j.State, proofs)
	}
	return proofs, digest, err
}
