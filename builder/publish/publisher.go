// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// Publisher makes the images of one build. It is used once.
type Publisher struct {
	// BeforeCommit is called when all images are there, shared and recorded, and
	// before anything older is removed. An error undoes the whole run. May be nil.
	BeforeCommit func(ctx context.Context, result *Result) error

	Config
	regions []*region
	notYet  time.Duration
	ui      Reporter
	uiLock  sync.Mutex
}

type publisher = Publisher

// New makes the publisher of one build. c must have gone through Prepare,
// PrepareDisk or PrepareImage.
func New(f *awsx.Factory, c Config, ui Reporter) (*Publisher, error) {
	if !c.Wanted() {
		return nil, errors.New("region: no region is given, so there is nothing to publish")
	}
	p := &Publisher{Config: c, ui: ui, notYet: notYetWindow}
	p.publishID = uuid.NewString()
	p.AMIArchitecture = cmp.Or(p.AMIArchitecture, string(types.ArchitectureValuesX8664))
	for _, name := range c.Targets() {
		p.regions = append(p.regions, newRegion(f, name, p.notYet))
	}
	return p, nil
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

// Precheck finds what would stop the publication in any of the regions, and
// reports all of it. It makes nothing.
func (p *Publisher) Precheck(ctx context.Context) error {
	if p.TemplateData != nil {
		c := p.Config // Disk and Image fill in the real one
		if err := c.fillIn(); err != nil {
			return err
		}
	}
	errs := make([]error, len(p.regions))
	var wg sync.WaitGroup
	for i, r := range p.regions {
		wg.Go(func() { errs[i] = r.nameIsFree(ctx, p.AMIName) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Image publishes an image that create makes in the first region.
func (p *Publisher) Image(ctx context.Context, create Create) (*Result, error) {
	if err := p.fillIn(); err != nil {
		return nil, err
	}
	if err := p.Precheck(ctx); err != nil {
		return nil, err
	}
	var owed ledger.Ledger
	r := p.regions[0]
	tags := ec2Tags(p.imageTags())
	id, err := create(ctx, &owed, NewImage{Region: r.name, Name: p.AMIName, Description: p.AMIDescription, ImageTags: tags, SnapshotTags: ec2Tags(p.snapshotTags(p.publishID)), PublishID: p.publishID})
	if err == nil {
		err = r.waitImage(ctx, p.waiter(), id)
	}
	if err != nil {
		return nil, p.settle(ctx, &owed, err)
	}
	if len(p.regions) > 1 {
		return nil, p.settle(ctx, &owed, fmt.Errorf("regions: copying is not there yet"))
	}
	owed.ForgiveAll()
	return &Result{Name: p.AMIName, Images: map[string]Image{r.name: {ImageID: id}}}, nil
}
