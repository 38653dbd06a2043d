// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
)

// retire removes what the new images replace, and what was only needed to make
// them. The new images are good whatever happens here, so nothing of it is an
// error of the run: what could not be removed is returned, with the commands
// that remove it. A cancel does not stop it half-way; undo_timeout does.
func (p *Publisher) retire(ctx context.Context, b *build) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.UndoTimeout)
	defer cancel()
	p.forgetUploads(b)
	errs := []error{p.saveManifest(ctx, b)}
	var gone []string
	for _, r := range p.regions {
		errs = append(errs, p.retireReplaced(ctx, b, r))
		removed, err := p.retireFamily(ctx, b, r)
		errs = append(errs, err)
		gone = append(gone, removed...)
	}
	errs = append(errs, b.trash.Settle(ctx, p.UndoTimeout))
	if p.CatalogueFile != "" && len(gone) > 0 {
		errs = append(errs, catalogue.Update(p.CatalogueFile, func(f *catalogue.File) error {
			for _, id := range gone {
				f.Forget(id)
			}
			return nil
		}))
	}
	var left []string
	for _, err := range errs {
		if err != nil {
			left = append(left, err.Error())
			p.say("the images are published, but: %v", err)
		}
	}
	return left
}

// retireReplaced deletes the snapshots of the image that gave its name away.
func (p *Publisher) retireReplaced(ctx context.Context, b *build, r *region) error {
	for _, old := range r.replaced {
		ids := mappedSnapshots(old)
		if !p.ForceDeleteSnapshot {
			p.say("%s: image %s is replaced; its snapshots stay (force_delete_snapshot removes them): %s", r.name, aws.ToString(old.ImageId), strings.Join(ids, " "))
			continue
		}
		if err := p.retireSnapshots(ctx, b, r, ids, aws.ToString(old.ImageId)); err != nil {
			return err
		}
	}
	return nil
}

// retireSnapshots deletes snapshots of an image, unless other images use them.
func (p *Publisher) retireSnapshots(ctx context.Context, b *build, r *region, ids []string, of string) error {
	if len(ids) == 0 {
		return nil
	}
	users, err := r.describeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("block-device-mapping.snapshot-id"), Values: ids}},
	})
	if err != nil {
		return r.explain("look for images that use "+strings.Join(ids, " "), r.name, err)
	}
	for _, id := range ids {
		used := slices.IndexFunc(users, func(i types.Image) bool {
			return aws.ToString(i.ImageId) != of && slices.Contains(mappedSnapshots(i), id)
		})
		if used >= 0 {
			p.say("%s: snapshot %s of %s stays: image %s uses it", r.name, id, of, aws.ToString(users[used].ImageId))
			continue
		}
		r.oweSnapshot(&b.trash, id)
	}
	return nil
}

// retireFamily removes the images of the family that are too many: older than
// the newest keep_newest of the same architecture, never one of this run.
func (p *Publisher) retireFamily(ctx context.Context, b *build, r *region) (removed []string, err error) {
	if p.KeepNewest == 0 {
		return nil, nil
	}
	images, err := r.describeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("tag:" + tagFamily), Values: []string{p.Family}}},
	})
	if err != nil {
		return nil, r.explain("look for the images of family "+p.Family, r.name, err)
	}
	ours := b.images[r]
	images = slices.DeleteFunc(images, func(i types.Image) bool {
		return aws.ToString(i.ImageId) == ours.id || i.Architecture != ours.described.Architecture ||
			tagOf(i.Tags, tagFamily) != p.Family || tagOf(i.Tags, tagPublishID) == p.publishID ||
			i.State != types.ImageStateAvailable && i.State != types.ImageStateDisabled
	})
	slices.SortStableFunc(images, func(a, b types.Image) int {
		return cmp.Compare(aws.ToString(b.CreationDate), aws.ToString(a.CreationDate))
	})
	var errs []error
	for n, i := range images {
		id := aws.ToString(i.ImageId)
		switch {
		case n+1 < p.KeepNewest:
		case protectionOf(i) != unprotected:
			p.say("%s: image %s of family %s is one too many, but protected: it stays", r.name, id, p.Family)
		default:
			p.say("%s: removing image %s (%s) of family %s: %d newer ones are kept", r.name, id, aws.ToString(i.Name), p.Family, p.KeepNewest)
			errs = append(errs, p.retireSnapshots(ctx, b, r, mappedSnapshots(i), id))
			r.oweImage(&b.trash, id)
			removed = append(removed, id)
		}
	}
	return removed, errors.Join(errs...)
}
