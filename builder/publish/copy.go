// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// copyAll copies the first image to every region that has none, with the key
// of that region.
func (p *Publisher) copyAll(ctx context.Context, b *build) error {
	home := p.regions[0]
	source := b.images[home]
	if b.first != nil {
		source = b.first
	}
	var targets []*region
	for _, r := range p.regions {
		if b.images[r] == nil {
			b.images[r] = &image{copiedFrom: home.name}
			targets = append(targets, r)
		}
	}
	return each(ctx, targets, p.CopyConcurrency, func(ctx context.Context, r *region) error {
		i := b.images[r]
		name, tags := p.firstName(r), p.imageTags()
		if name != p.AMIName {
			i.staged, tags = name, p.temporaryTags()
		}
		p.say("%s: copying image %s of %s as %q", r.name, source.id, home.name, name)
		return p.copyImage(ctx, b, r, i, p.copyRequest(r, home.name, source.id, name, tags))
	})
}

// copyRequest asks for a copy. Its token belongs to this run, region and name,
// so that a repeated request makes no second image.
func (p *Publisher) copyRequest(r *region, from, id, name string, tags map[string]string) *ec2.CopyImageInput {
	in := &ec2.CopyImageInput{
		Name:          aws.String(name),
		Description:   text(p.AMIDescription),
		SourceImageId: aws.String(id),
		SourceRegion:  aws.String(from),
		ClientToken:   aws.String(uuid.NewSHA1(uuid.MustParse(p.publishID), []byte(r.name+" "+name)).String()),
		TagSpecifications: append(tagged(types.ResourceTypeImage, tags),
			tagged(types.ResourceTypeSnapshot, p.snapshotTags(p.publishID))...),
	}
	if p.encryption() == encrypted {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), text(p.keyOf(r.name))
	}
	return in
}

// copyImage makes a copy and waits for it.
func (p *Publisher) copyImage(ctx context.Context, b *build, r *region, i *image, in *ec2.CopyImageInput) error {
	unknown := r.oweTagged(&b.owed, p.publishID)
	err := r.patiently(ctx, p.waiter(), func(ctx context.Context) error {
		out, err := r.images.CopyImage(ctx, in)
		if err == nil {
			i.id = aws.ToString(out.ImageId)
		}
		return err
	})
	if awsx.Class(err) == awsx.Conflict {
		images, findErr := r.imagesNamed(ctx, aws.ToString(in.Name))
		for _, found := range images {
			if findErr == nil && tagOf(found.Tags, tagPublishID) == p.publishID {
				i.id, err = aws.ToString(found.ImageId), nil
			}
		}
	}
	if err != nil {
		if awsx.MadeNothing(ctx, err) {
			b.owed.Forgive(unknown)
		}
		return r.explain("copy image "+aws.ToString(in.SourceImageId)+" of "+aws.ToString(in.SourceRegion), r.name, err)
	}
	known := r.oweWhole(&b.owed, i.id, p.publishID)
	b.owed.Forgive(unknown)
	if err := p.waitFor(ctx, r, i); err != nil {
		return err
	}
	r.oweParts(&b.owed, i, known)
	return nil
}

// readBack checks that the images are what the template asks for, before
// anything that others see is done.
func (p *Publisher) readBack(_ context.Context, b *build) error {
	var wrong problems
	for _, r := range p.regions {
		i := b.images[r]
		switch e := i.entry(); {
		case p.encryption() == encrypted && !e.Encrypted:
			wrong.add("encrypt_boot", "is true, but EC2 left image "+i.id+" in "+r.name+" without encryption", "ask AWS, or leave it out")
		case p.encryption() == unencrypted && i.anyEncrypted():
			wrong.add("encrypt_boot", "is false, but EC2 encrypted image "+i.id+" in "+r.name, "leave it out, or look at the account's default of encryption there")
		}
	}
	return wrong.join()
}
