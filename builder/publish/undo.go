// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// oweSnapshot records that a snapshot was made.
func (r *region) oweSnapshot(owed *ledger.Ledger, id string) {
	made := time.Now()
	owed.Owe("snapshot "+id+" in "+r.name, r.command("delete-snapshot", "--snapshot-id", id),
		func(ctx context.Context) error { return r.deleteSnapshot(ctx, id, made) })
}

// oweImage records that an image was registered.
func (r *region) oweImage(owed *ledger.Ledger, id string) {
	made := time.Now()
	owed.Owe("image "+id+" in "+r.name, r.command("deregister-image", "--image-id", id),
		func(ctx context.Context) error { return r.deregister(ctx, id, made) })
}

// oweUnknownSnapshot covers the time in which a snapshot may exist whose id did
// not reach us: the reply was lost, or we were cancelled. It is found by the
// tag that it was born with.
func (r *region) oweUnknownSnapshot(owed *ledger.Ledger, publishID string) *ledger.Debt {
	find := []types.Filter{{Name: aws.String("tag:" + tagPublishID), Values: []string{publishID}}}
	return owed.Owe("perhaps a snapshot in "+r.name+" whose id was never told",
		r.command("describe-snapshots", "--owner-ids", "self", "--filters", "Name=tag:"+tagPublishID+",Values="+publishID),
		func(ctx context.Context) error {
			out, err := r.snapshots.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: find}, awsx.Once)
			if err != nil {
				return verdict(err)
			}
			for _, s := range out.Snapshots {
				err = errors.Join(err, r.deleteSnapshot(ctx, aws.ToString(s.SnapshotId), time.Time{}))
			}
			return err
		})
}

// oweUnknownImage is the same for an image: it is found by its name, and is
// ours only when it uses our snapshot.
func (r *region) oweUnknownImage(owed *ledger.Ledger, name, snapshotID string) *ledger.Debt {
	return owed.Owe(fmt.Sprintf("perhaps an image %q in %s whose id was never told", name, r.name),
		r.command("describe-images", "--owners", "self", "--filters", "Name=block-device-mapping.snapshot-id,Values="+snapshotID),
		func(ctx context.Context) error {
			images, err := r.imagesNamed(ctx, name, awsx.Once)
			if err != nil {
				return verdict(err)
			}
			if id := imageOf(images, snapshotID); id != "" {
				return r.deregister(ctx, id, time.Time{})
			}
			return nil
		})
}

// imageOf returns the image that uses a snapshot.
func imageOf(images []types.Image, snapshotID string) string {
	for _, image := range images {
		for _, d := range image.BlockDeviceMappings {
			if d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) == snapshotID {
				return aws.ToString(image.ImageId)
			}
		}
	}
	return ""
}

func (r *region) deleteSnapshot(ctx context.Context, id string, made time.Time) error {
	_, err := r.snapshots.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)}, awsx.Once)
	return r.gone(err, made)
}

func (r *region) deregister(ctx context.Context, id string, made time.Time) error {
	_, err := r.images.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)}, awsx.Once)
	return r.gone(err, made)
}

// gone turns "not found" into success, but only once the thing is old enough
// for the answer to be true.
func (r *region) gone(err error, made time.Time) error {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "InvalidAMIID.Unavailable" {
		return nil // it is deregistered already
	}
	if awsx.Class(err) == awsx.NotYet {
		if time.Since(made) > r.notYet {
			return nil
		}
		return fmt.Errorf("it is so new that this may not be true yet: %w", err)
	}
	return verdict(err)
}

// verdict marks the errors that no repetition mends.
func verdict(err error) error {
	switch awsx.Class(err) {
	case awsx.Denied, awsx.Fatal:
		return ledger.Permanent(err)
	default:
		return err
	}
}

// certainlyNothing reports whether a failed create call is known to have made
// nothing. After throttling or a conflict it is not: an earlier try of the same
// call may have got through.
func certainlyNothing(err error) bool {
	switch awsx.Class(err) {
	case awsx.Denied, awsx.Quota, awsx.Fatal:
		return true
	default:
		return false
	}
}
