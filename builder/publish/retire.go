// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
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
	var families []*retired
	for _, r := range p.regions {
		p.trashReplaced(b, r)
		done := &retired{said: map[string]bool{}, half: map[string][]string{}}
		p.trashFamily(b, r, done)
		families = append(families, done)
	}
	errs = append(errs, b.trash.Settle(ctx, p.UndoTimeout))
	errs = append(errs, p.forgetRetired(families))
	var left []string
	for _, err := range errs {
		if err != nil {
			left = append(left, err.Error())
			p.say("the images are published, but: %v", err)
		}
	}
	return left
}

// forgetRetired takes images that are gone out of the catalogue.
func (p *Publisher) forgetRetired(families []*retired) error {
	var gone []string
	for _, done := range families {
		gone = append(gone, done.gone...)
	}
	if p.CatalogueFile == "" || len(gone) == 0 {
		return nil
	}
	return catalogue.Update(p.CatalogueFile, func(f *catalogue.File) error {
		for _, id := range gone {
			f.Forget(id)
		}
		return nil
	})
}

// trashReplaced has the snapshots deleted of the image that gave its name away.
func (p *Publisher) trashReplaced(b *build, r *region) {
	for _, old := range r.replaced {
		id, snapshots := aws.ToString(old.ImageId), mappedSnapshots(old)
		if !p.ForceDeleteSnapshot {
			p.say("%s: image %s is replaced; its snapshots stay (force_delete_snapshot removes them): %s", r.name, id, strings.Join(snapshots, " "))
			continue
		}
		b.trash.Owe("the snapshots "+strings.Join(snapshots, " ")+" of the replaced image "+id+" in "+r.name, r.deleteAll(snapshots),
			func(ctx context.Context) error { return p.deleteUnused(ctx, r, id, snapshots) })
	}
}

// deleteAll are the commands that delete snapshots.
func (r *region) deleteAll(snapshots []string) string {
	var commands []string
	for _, id := range snapshots {
		commands = append(commands, r.command("delete-snapshot", "--snapshot-id", id))
	}
	return strings.Join(commands, "; ")
}

// deleteUnused deletes snapshots of an image that is gone, unless other images
// use them.
func (p *Publisher) deleteUnused(ctx context.Context, r *region, of string, snapshots []string) error {
	if len(snapshots) == 0 {
		return nil
	}
	users, err := r.describeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("block-device-mapping.snapshot-id"), Values: snapshots}},
	}, awsx.Once)
	if err != nil {
		return verdict(err)
	}
	var errs []error
	for _, id := range snapshots {
		used := slices.IndexFunc(users, func(i types.Image) bool {
			return aws.ToString(i.ImageId) != of && slices.Contains(mappedSnapshots(i), id)
		})
		if used >= 0 {
			p.say("%s: snapshot %s of %s stays: image %s uses it", r.name, id, of, aws.ToString(users[used].ImageId))
		} else if err := r.deleteSnapshot(ctx, id, time.Time{}); err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", id, err))
		}
	}
	return joinVerdicts(errs)
}

// retired is what the retention did in a region.
type retired struct {
	gone []string
	said map[string]bool     // about which images something was said
	half map[string][]string // snapshots of images that are, or may be, gone
}

// trashFamily has the images of the family removed that are too many: older than
// the newest keep_newest of the same architecture, never one of this run.
func (p *Publisher) trashFamily(b *build, r *region, done *retired) {
	if p.KeepNewest == 0 {
		return
	}
	ours := b.images[r]
	b.trash.Owe(fmt.Sprintf("images of family %q in %s beyond the newest %d", p.Family, r.name, p.KeepNewest),
		r.command("describe-images", "--owners", "self", "--filters", "Name=tag:"+tagFamily+",Values="+p.Family),
		func(ctx context.Context) error {
			images, err := r.describeImages(ctx, &ec2.DescribeImagesInput{
				Owners:  []string{"self"},
				Filters: []types.Filter{{Name: aws.String("tag:" + tagFamily), Values: []string{literal(p.Family)}}},
			}, awsx.Once)
			if err != nil {
				return verdict(err)
			}
			there := map[string]bool{}
			for _, i := range images {
				there[aws.ToString(i.ImageId)] = true
			}
			var errs []error
			for _, i := range p.tooMany(images, ours) {
				id := aws.ToString(i.ImageId)
				if protectionOf(i) != unprotected {
					p.sayOnce(done, id, fmt.Sprintf("%s: image %s of family %s is one too many, but protected: it stays", r.name, id, p.Family))
					continue
				}
				p.sayOnce(done, id, fmt.Sprintf("%s: removing image %s (%s) of family %s: %d newer ones are kept", r.name, id, aws.ToString(i.Name), p.Family, p.KeepNewest))
				done.half[id] = mappedSnapshots(i) // also when the reply is lost
				if err := r.deregister(ctx, id, time.Time{}); err != nil {
					errs = append(errs, fmt.Errorf("image %s: %w", id, err))
					continue
				}
				there[id] = false
			}
			return joinVerdicts(append(errs, p.finishRetired(ctx, r, done, there)...))
		})
}

// finishRetired deletes the snapshots of the images that are gone.
func (p *Publisher) finishRetired(ctx context.Context, r *region, done *retired, there map[string]bool) (errs []error) {
	for id, snapshots := range done.half {
		if there[id] {
			continue
		}
		if err := p.deleteUnused(ctx, r, id, snapshots); err != nil {
			errs = append(errs, fmt.Errorf("image %s is deregistered, but %w; what is left goes with: %s", id, err, r.deleteAll(snapshots)))
			continue
		}
		done.gone = append(done.gone, id)
		delete(done.half, id)
	}
	return errs
}

// sayOnce says a thing about an image once, however often it is tried.
func (p *Publisher) sayOnce(done *retired, id, line string) {
	if !done.said[id] {
		p.say("%s", line)
	}
	done.said[id] = true
}

// tooMany picks the images of the family that are not among the newest.
func (p *Publisher) tooMany(images []types.Image, ours *image) []types.Image {
	images = slices.DeleteFunc(images, func(i types.Image) bool {
		return aws.ToString(i.ImageId) == ours.id || i.Architecture != ours.described.Architecture ||
			tagOf(i.Tags, tagFamily) != p.Family || tagOf(i.Tags, tagPublishID) == p.publishID ||
			i.State != types.ImageStateAvailable && i.State != types.ImageStateDisabled
	})
	slices.SortStableFunc(images, func(a, b types.Image) int {
		return cmp.Compare(aws.ToString(b.CreationDate), aws.ToString(a.CreationDate))
	})
	return images[min(len(images), p.KeepNewest-1):]
}
