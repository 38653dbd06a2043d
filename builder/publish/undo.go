// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
)

// unknownShare is the part of the time in which a new thing may be unknown that
// is spent looking for something of which no reply told that it exists.
const unknownShare = 8

// oweSnapshot records that a snapshot was made.
func (r *region) oweSnapshot(owed *ledger.Ledger, id string) *ledger.Debt {
	made := time.Now()
	return owed.Owe("snapshot "+id+" in "+r.name, r.command("delete-snapshot", "--snapshot-id", id),
		func(ctx context.Context) error { return r.deleteSnapshot(ctx, id, made) })
}

// oweImage records that an image was registered.
func (r *region) oweImage(owed *ledger.Ledger, id string) {
	made := time.Now()
	owed.Owe("image "+id+" in "+r.name, r.command("deregister-image", "--image-id", id),
		func(ctx context.Context) error { return r.deregister(ctx, id, made) })
}

// oweProtection records that an image is about to be protected.
func (r *region) oweProtection(owed *ledger.Ledger, id string) {
	in := &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(id)}
	owed.Owe("the protection of image "+id+" in "+r.name, r.command("disable-image-deregistration-protection", "--image-id", id), func(ctx context.Context) error {
		_, err := r.attributes.DisableImageDeregistrationProtection(ctx, in, awsx.Once)
		if awsx.Class(err) == awsx.NotYet {
			return nil // it is gone: its own undo looks closer
		}
		return verdict(err)
	})
}

// oweParts records an image and its snapshots one by one, so that the image
// goes first, in place of debts that covered the time when the snapshots were
// not known.
func (r *region) oweParts(owed *ledger.Ledger, i *image, instead ...*ledger.Debt) {
	for _, id := range i.snapshotIDs() {
		r.oweSnapshot(owed, id)
	}
	r.oweImage(owed, i.id)
	owed.Forgive(instead...)
}

// oweWhole records that an image was begun whose snapshots EC2 makes: they are
// found by their tag, or by what the image says.
func (r *region) oweWhole(owed *ledger.Ledger, id, publishID string) *ledger.Debt {
	made := time.Now()
	return owed.Owe("image "+id+" in "+r.name+" with its snapshots",
		r.command("deregister-image", "--image-id", id)+"; "+r.findSnapshots(publishID),
		func(ctx context.Context) error {
			out, err := r.describeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}}, awsx.Once)
			if err != nil && !absent(err) {
				return verdict(err)
			}
			return r.removeAll(ctx, out, []string{id}, publishID, made)
		})
}

// oweTagged covers the time in which an image may exist whose id did not reach
// us, with snapshots that EC2 makes: all are found by the tag that they were
// born with.
func (r *region) oweTagged(owed *ledger.Ledger, publishID string) *ledger.Debt {
	var asked time.Time
	return owed.Owe("perhaps an image in "+r.name+" whose id was never told", r.findImages(publishID)+"; "+r.findSnapshots(publishID),
		func(ctx context.Context) error {
			if asked.IsZero() {
				asked = time.Now()
			}
			images, err := r.imagesTagged(ctx, publishID)
			if err != nil {
				return verdict(err)
			}
			if len(images) == 0 && time.Since(asked) < r.notYet/unknownShare {
				return errors.New("if it exists, it may be too new to be seen")
			}
			return r.removeAll(ctx, images, nil, publishID, time.Time{})
		})
}

// removeAll deregisters images and deletes their snapshots.
func (r *region) removeAll(ctx context.Context, images []types.Image, ids []string, publishID string, made time.Time) error {
	snapshots, err := r.snapshotsTagged(ctx, publishID)
	if err != nil {
		return verdict(err)
	}
	for _, i := range images {
		mapped := mappedSnapshots(i)
		if i.State == types.ImageStatePending && len(mapped)+len(snapshots) == 0 && time.Since(made) < r.notYet {
			return fmt.Errorf("image %s is so new that its snapshots are not known yet", aws.ToString(i.ImageId))
		}
		snapshots = append(snapshots, mapped...)
		if id := aws.ToString(i.ImageId); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	var errs []error
	for _, id := range ids {
		if err := r.deregister(ctx, id, made); err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", id, err))
		}
	}
	slices.Sort(snapshots)
	for _, id := range slices.Compact(snapshots) {
		if err := r.deleteSnapshot(ctx, id, time.Time{}); err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", id, err))
		}
	}
	return joinVerdicts(errs)
}

// joinVerdicts joins errors; the whole is only permanent when all of them are.
func joinVerdicts(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	var texts []string
	for _, err := range errs {
		if !ledger.IsPermanent(err) {
			return errors.Join(errs...)
		}
		texts = append(texts, err.Error())
	}
	return ledger.Permanent(errors.New(strings.Join(texts, "; ")))
}

// oweUnknownSnapshot covers the time in which a snapshot may exist whose id did
// not reach us: the reply was lost, or we were cancelled. It is found by the
// tag that it was born with.
func (r *region) oweUnknownSnapshot(owed *ledger.Ledger, publishID string) *ledger.Debt {
	var asked time.Time
	return owed.Owe("perhaps a snapshot in "+r.name+" whose id was never told", r.findSnapshots(publishID),
		func(ctx context.Context) error {
			if asked.IsZero() {
				asked = time.Now()
			}
			ids, err := r.snapshotsTagged(ctx, publishID)
			if err != nil {
				return verdict(err)
			}
			if len(ids) == 0 && time.Since(asked) < r.notYet/unknownShare {
				return errors.New("if it exists, it may be too new to be seen")
			}
			var errs []error
			for _, id := range ids {
				if err := r.deleteSnapshot(ctx, id, time.Time{}); err != nil {
					errs = append(errs, fmt.Errorf("snapshot %s: %w", id, err))
				}
			}
			return joinVerdicts(errs)
		})
}

// oweUnknownImage is the same for an image over snapshots that are owed
// already.
func (r *region) oweUnknownImage(owed *ledger.Ledger, publishID string) *ledger.Debt {
	var asked time.Time
	return owed.Owe("perhaps an image in "+r.name+" whose id was never told", r.findImages(publishID),
		func(ctx context.Context) error {
			if asked.IsZero() {
				asked = time.Now()
			}
			images, err := r.imagesTagged(ctx, publishID)
			if err != nil {
				return verdict(err)
			}
			if len(images) == 0 && time.Since(asked) < r.notYet/unknownShare {
				return errors.New("if it exists, it may be too new to be seen")
			}
			var errs []error
			for _, i := range images {
				if err := r.deregister(ctx, aws.ToString(i.ImageId), time.Time{}); err != nil {
					errs = append(errs, fmt.Errorf("image %s: %w", aws.ToString(i.ImageId), err))
				}
			}
			return joinVerdicts(errs)
		})
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
	if awsx.Hopeless(err) {
		return ledger.Permanent(err)
	}
	return err
}
