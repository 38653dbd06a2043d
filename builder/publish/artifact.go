// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	// Seconds is how long each part of the run took.
	Seconds map[string]float64 `json:"seconds,omitempty"`
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

// Destroy deregisters every image and deletes its snapshots. It goes on past
// errors; the error lists what is left.
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
}

func (r *Result) regions() []string { return slices.Sorted(maps.Keys(r.Images)) }
