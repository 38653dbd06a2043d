// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package publish makes images in many regions, of a disk or of a machine, and
// undoes all of it when anything fails.
package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Disk uploads the raw disk file at path and publishes images of it. Nothing is
// made when a precheck fails in any region. On failure or cancel everything that
// was made is removed again; the error then lists what could not be, with the
// command that removes it.
func (p *Publisher) Disk(ctx context.Context, path string) (*Result, error) {
	disk, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = disk.Close() }() // it was only read
	if err := p.checkDisk(disk); err != nil {
		return nil, err
	}
	if err := p.inspect(ctx, path); err != nil {
		return nil, err
	}
	if p.inventory, err = p.TakeInventory(ctx, path, func(text string) { p.say("%s", text) }); err != nil {
		return nil, err
	}
	p.openResume(path)
	p.DiskName = p.resume.disk
	return p.publish(ctx, func(ctx context.Context, b *build) error { return p.uploadAll(ctx, b, disk) })
}

// Image publishes an image that create makes in the first region. It fails and
// undoes as Disk does.
func (p *Publisher) Image(ctx context.Context, create Create) (*Result, error) {
	return p.publish(ctx, func(ctx context.Context, b *build) error { return p.createFirst(ctx, b, create) })
}

// publish is the whole story. first makes the image in the first region, or
// in all of them.
func (p *Publisher) publish(ctx context.Context, first func(context.Context, *build) error) (*Result, error) {
	b := newBuild()
	if err := p.fillIn(); err != nil {
		return nil, err
	}
	if err := p.Precheck(ctx); err != nil {
		return nil, err
	}
	if p.SkipCreateAMI {
		p.say("skip_create_ami: no image is made")
		return &Result{Name: p.AMIName, Images: map[string]Image{}}, nil
	}
	err := b.run(ctx, []part{
		{"image", first},
		{"search", p.searchSnapshots},
		{"boot test", p.bootTest},
		{"copies", p.copyAll},
		{"check", p.readBack},
		{"names", p.takeNames},
		{"attributes", p.setAttributes},
		{"proof", p.prove},
		{"sharing", p.share},
		{"parameters", p.setParameters},
		{"catalogue", p.record},
		{"caller", p.callBeforeCommit},
		{"protection", p.protect},
	})
	if err != nil {
		return nil, p.settle(ctx, b, err)
	}
	// From here on the new images stay, and what they replace goes.
	b.owed.ForgiveAll()
	result := p.result(b)
	result.Left = slices.Concat(b.left, p.retire(ctx, b))
	return result, nil
}

// part is a named part of the story.
type part struct {
	name string
	do   func(context.Context, *build) error
}

// build is what one run has made so far.
type build struct {
	// owed is undone when the run fails, trash removed when it succeeds.
	owed, trash ledger.Ledger
	images      map[*region]*image
	// first is an image that is only there to be copied, encrypted; else nil.
	first   *image
	seconds map[string]float64
	// left could not be removed although it did not matter for the image.
	left []string
	// proofs are the files that were written, digest is that of the disk.
	proofs []catalogue.Proof
	digest string
}

func newBuild() *build {
	return &build{images: map[*region]*image{}, seconds: map[string]float64{}}
}

// run does the parts in order. A cancel that comes too late to stop a part
// stops the next one.
func (b *build) run(ctx context.Context, parts []part) error {
	for _, part := range parts {
		start := time.Now()
		err := part.do(ctx, b)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
		if err != nil {
			return err
		}
		b.seconds[part.name] = time.Since(start).Round(time.Millisecond).Seconds()
	}
	return nil
}

// settle removes what the run made. The cause comes first in the error: it is
// what the reader wants to know.
func (p *Publisher) settle(ctx context.Context, b *build, cause error) error {
	p.forgetUploads(b)
	if n := len(b.owed.Open()); n > 0 {
		p.say("removing what was made so far (%d), for at most %s", n, p.UndoTimeout)
	}
	if err := b.owed.Settle(ctx, p.UndoTimeout); err != nil {
		return fmt.Errorf("%w\n%w", cause, err)
	}
	return cause
}

// callBeforeCommit lets the caller finish what it has to, while everything can
// still be undone.
func (p *Publisher) callBeforeCommit(ctx context.Context, b *build) error {
	if p.BeforeCommit == nil {
		return nil
	}
	return p.BeforeCommit(ctx, p.result(b))
}

func (p *Publisher) result(b *build) *Result {
	r := &Result{
		Name: p.AMIName, PublishID: p.publishID, SourceAMI: p.About.Source.AMI, Labels: p.labels(),
		Protected: p.Protection.Enabled, Images: map[string]Image{}, Seconds: maps.Clone(b.seconds),
		Proofs: b.proofs, DiskDigest: b.digest,
	}
	for in, i := range b.images {
		r.Images[in.name] = i.entry()
	}
	return r
}
