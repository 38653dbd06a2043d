// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// Publisher makes the images of one build. It is used once.
type Publisher struct {
	// BeforeCommit is called when all images are there, shared and recorded, and
	// before anything older is removed. An error undoes the whole run. May be nil.
	BeforeCommit func(ctx context.Context, result *Result) error

	Config
	regions []*region
	objects objectKeeper
	caller  identifier
	ui      Reporter
	uiLock  sync.Mutex
	resume  resume
	// inventory is what is in the disk; nil when that is not known.
	inventory *sbom.Inventory
}

// New makes the publisher of one build. c must have gone through Prepare,
// PrepareDisk or PrepareImage.
func New(f *awsx.Factory, c Config, ui Reporter) (*Publisher, error) {
	if !c.Wanted() {
		return nil, errors.New("region: no region is given, so there is nothing to publish")
	}
	p := &Publisher{Config: c, objects: f.S3(c.home()), caller: f.STS(c.home()), ui: ui}
	p.publishID = uuid.NewString()
	if p.Started.IsZero() {
		p.Started = time.Now()
	}
	p.AMIArchitecture = cmp.Or(p.AMIArchitecture, string(types.ArchitectureValuesX8664))
	for _, name := range c.Targets() {
		p.regions = append(p.regions, newRegion(f, name, cmp.Or(c.NotYet, notYetWindow)))
	}
	return p, nil
}

// Publish uploads a raw disk file and publishes images of it: New and Disk.
func Publish(ctx context.Context, f *awsx.Factory, disk string, c Config, ui Reporter) (*Result, error) {
	p, err := New(f, c, ui)
	if err != nil {
		return nil, err
	}
	return p.Disk(ctx, disk)
}

// PublishID is the value of the tag rightimage:publish-id, which everything
// that the publisher makes carries.
func (p *Publisher) PublishID() string { return p.publishID }

// NewImage says how the first image of a build is to be made.
type NewImage struct {
	// Region is where.
	Region string
	// Name and Description are those of the image. The name may be a temporary
	// one.
	Name, Description string
	// ImageTags and SnapshotTags belong into the request that makes the image.
	ImageTags, SnapshotTags []types.Tag
	// PublishID is the tag that finds the image again when a reply was lost.
	PublishID string
}

// Create makes the first image of a build and returns its id at once, without
// waiting for the image. It must use the name and the tags of in, which the
// publisher finds the image and its snapshots by when they have to go again; in
// owed it records what else it makes.
type Create func(ctx context.Context, owed *ledger.Ledger, in NewImage) (imageID string, err error)

// image is what one region has.
type image struct {
	// id is the image that has, or will have, the final name. Until takeNames it
	// may be a staging image.
	id string
	// staged is the temporary name; "" when the image was born with its own.
	staged string
	// described is what EC2 said of it last.
	described types.Image
	snapshots []types.Snapshot
	// checksum is that of an uploaded snapshot, copiedFrom the region of a copied
	// one.
	checksum, copiedFrom string
	deprecation          string           // RFC 3339
	upload               *upload.Snapshot // nil unless it was uploaded
}

func (i *image) snapshotIDs() []string {
	var ids []string
	for _, s := range i.snapshots {
		ids = append(ids, aws.ToString(s.SnapshotId))
	}
	return ids
}

func (i *image) anyEncrypted() bool {
	return slices.ContainsFunc(i.snapshots, func(s types.Snapshot) bool { return aws.ToBool(s.Encrypted) })
}

// entry is the image as the catalogue has it.
func (i *image) entry() Image {
	e := Image{ImageID: i.id, SnapshotIDs: i.snapshotIDs(), Checksum: i.checksum, CopiedFrom: i.copiedFrom, DeprecationTime: i.deprecation}
	e.Encrypted = len(i.snapshots) > 0
	for _, s := range i.snapshots {
		e.Encrypted = e.Encrypted && aws.ToBool(s.Encrypted)
		e.KmsKeyID = cmp.Or(e.KmsKeyID, aws.ToString(s.KmsKeyId))
	}
	return e
}

// regionsAtOnce bounds how many regions are worked on at the same time; each
// upload has up to upload_concurrency blocks in memory.
const regionsAtOnce = 4

// each calls do for regions side by side, so many at a time; the first failure
// stops the others.
func each(ctx context.Context, regions []*region, atOnce int, do func(context.Context, *region) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, r := range regions {
		group.Go(func() error { return do(ctx, r) })
	}
	return group.Wait()
}

// stagingName is the temporary name of an image whose own name is taken by the
// image that it replaces, passingName that of one that is only there to be copied.
func (p *Publisher) stagingName() string { return p.temporaryName(0) }
func (p *Publisher) passingName() string { return p.temporaryName(8) }

// temporaryName takes eight digits of the publish id from some place on.
func (p *Publisher) temporaryName(from int) string {
	suffix := " " + strings.ReplaceAll(p.publishID, "-", "")[from:from+8]
	return strings.TrimRight(clip(p.AMIName, maxName-len(suffix)), " ") + suffix
}

func (p *Publisher) say(format string, args ...any) {
	p.uiLock.Lock()
	defer p.uiLock.Unlock()
	p.ui.Say(fmt.Sprintf(format, args...))
}
