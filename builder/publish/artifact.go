// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// destroyLimit bounds Destroy.
const destroyLimit = 2 * time.Minute

// Image is what one region got.
type Image = catalogue.Image

// Result is what a Publisher made. It survives JSON, so that it can be kept and
// destroyed later.
type Result struct {
	Name string `json:"name,omitempty"`
	// PublishID is the tag rightimage:publish-id of the images.
	PublishID string `json:"publish_id,omitempty"`
	// Images has an entry for every region.
	Images map[string]Image `json:"images"`
	// Protected tells whether the build protected the images.
	Protected bool `json:"protected,omitempty"`
	// SourceAMI is what the images were made of, if that was an image.
	SourceAMI string `json:"source_ami,omitempty"`
	// Labels say what is in the images and where it comes from.
	Labels map[string]string `json:"labels,omitempty"`
	// Seconds is how long each part of the run took.
	Seconds map[string]float64 `json:"seconds,omitempty"`
	// DiskDigest is what the provenance says of the disk, Proofs are the files that
	// prove it, with absolute paths.
	DiskDigest string            `json:"disk_digest,omitempty"`
	Proofs     []catalogue.Proof `json:"proofs,omitempty"`
	// Left are older or temporary things that could not be removed although the
	// images are good, with the commands that remove them.
	Left []string `json:"left,omitempty"`
}

// ID names all images in one line, "region:ami,region:ami", sorted by region.
func (r *Result) ID() string {
	var ids []string
	for _, region := range r.regions() {
		ids = append(ids, region+":"+r.Images[region].ImageID)
	}
	return strings.Join(ids, ",")
}

// Registry is what HCP Packer's registry keeps of the images.
func (r *Result) Registry() []*registryimage.Image {
	var images []*registryimage.Image
	for _, region := range r.regions() {
		i := r.Images[region]
		labels := maps.Clone(r.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		labels["name"], labels["snapshots"] = r.Name, strings.Join(i.SnapshotIDs, ",")
		if i.Encrypted {
			labels["encrypted"] = "true"
		}
		if i.DeprecationTime != "" {
			labels["deprecation_time"] = i.DeprecationTime
		}
		images = append(images, &registryimage.Image{
			ImageID: i.ImageID, ProviderName: "aws", ProviderRegion: region, SourceImageID: r.SourceAMI, Labels: labels,
		})
	}
	return images
}

// String lists the images for people.
func (r *Result) String() string {
	var b strings.Builder
	b.WriteString("AMIs were created:")
	for _, region := range r.regions() {
		fmt.Fprintf(&b, "\n%s: %s", region, r.Images[region].ImageID)
	}
	for _, left := range r.Left {
		b.WriteString("\n" + left)
	}
	return b.String()
}

// Destroy deregisters every image and deletes its snapshots; it ends the
// protection that the build gave them, which a cool-down keeps for another 24
// hours. It goes on past errors; the error lists what is left.
func (r *Result) Destroy(ctx context.Context, f *awsx.Factory) error {
	var owed ledger.Ledger
	for _, name := range slices.Backward(r.regions()) {
		r.oweAll(&owed, newRegion(f, name, time.Nanosecond), r.Images[name])
	}
	return owed.Settle(ctx, destroyLimit)
}

// oweAll records an image after its snapshots, so that it goes first.
func (r *Result) oweAll(owed *ledger.Ledger, in *region, image Image) {
	for _, id := range image.SnapshotIDs {
		in.oweSnapshot(owed, id)
	}
	if image.ImageID != "" {
		in.oweImage(owed, image.ImageID)
	}
	if image.ImageID != "" && r.Protected {
		in.oweProtection(owed, image.ImageID)
	}
}

func (r *Result) regions() []string { return slices.Sorted(maps.Keys(r.Images)) }

// labels are the labels of a build for HCP Packer.
func (c Config) labels() map[string]string {
	labels := map[string]string{}
	for k, v := range c.ownTags() {
		labels[strings.TrimPrefix(k, tagPrefix)] = v
	}
	for k, v := range map[string]string{
		"os": cmp.Or(c.About.OS.Name, strings.TrimSpace(c.About.OS.ID+" "+c.About.OS.Version)), "architecture": cmp.Or(c.About.Architecture, c.AMIArchitecture),
	} {
		if v != "" {
			labels[k] = v
		}
	}
	return labels
}
