// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// allImages lists the account's images, deprecated and disabled ones included:
// they use their snapshots as well.
func (p *place) allImages(ctx context.Context) ([]types.Image, error) {
	var out []types.Image
	pages := ec2.NewDescribeImagesPaginator(p.api, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Images...)
	}
	return out, nil
}

// images finds staging images, and images that never became available.
func (p *place) images(ctx context.Context) ([]*Leftover, error) {
	all, err := p.allImages(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Leftover
	for _, i := range all {
		why := whyImage(i)
		if why == "" {
			continue
		}
		id := aws.ToString(i.ImageId)
		var made *time.Time
		if t, err := time.Parse(time.RFC3339, aws.ToString(i.CreationDate)); err == nil {
			made = &t
		}
		l := p.leftover("image", id, tagMap(i.Tags), made, "deregister-image", "--image-id", id)
		l.Why, l.Action = why, "deregister"
		l.remove = func(ctx context.Context) error {
			_, err := p.api.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)}, awsx.Once)
			return err
		}
		p.remember(l)
		out = append(out, l)
	}
	return out, nil
}

// whyImage says why an image counts as a leftover; "" when it is none, as every
// available image that is no staging image.
func whyImage(i types.Image) string {
	tags := tagMap(i.Tags)
	_, staging := tags[tagTemporary]
	_, ours := tags[tagPublishID]
	switch {
	case staging:
		return "staging image " + aws.ToString(i.Name)
	case !ours:
		return ""
	case i.State == types.ImageStatePending:
		return "has been pending all the time"
	case i.State == types.ImageStateFailed, i.State == types.ImageStateError, i.State == types.ImageStateInvalid:
		return "is " + string(i.State)
	default:
		return ""
	}
}

// snapshots finds those that no image and no catalogue uses.
func (p *place) snapshots(ctx context.Context) ([]*Leftover, error) {
	images, err := p.allImages(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, i := range images {
		for _, d := range i.BlockDeviceMappings {
			if d.Ebs != nil && !p.ending[aws.ToString(i.ImageId)] {
				used[aws.ToString(d.Ebs.SnapshotId)] = true
			}
		}
	}
	var out []*Leftover
	pages := ec2.NewDescribeSnapshotsPaginator(p.api, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"}, Filters: []types.Filter{withTag(tagPublishID, tagTemporary)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Snapshots {
			if id := aws.ToString(s.SnapshotId); !used[id] && !slices.Contains(p.Keep, id) {
				out = append(out, p.snapshot(s))
			}
		}
	}
	return out, nil
}

func (p *place) snapshot(s types.Snapshot) *Leftover {
	id := aws.ToString(s.SnapshotId)
	l := p.leftover("snapshot", id, tagMap(s.Tags), s.StartTime, "delete-snapshot", "--snapshot-id", id)
	switch s.State {
	case types.SnapshotStatePending:
		l.Why = "its upload never ended"
	case types.SnapshotStateError:
		l.Why = "failed"
	default:
		l.Why = "no image uses it"
	}
	l.remove = func(ctx context.Context) error {
		_, err := p.api.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)}, awsx.Once)
		return err
	}
	return l
}
