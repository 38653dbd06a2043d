// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// notYetWindow is how long after its creation a thing may still be unknown to
// some of the service's machines. Two minutes were observed.
const notYetWindow = 2 * time.Minute

// region is what the flow needs of one region.
type region struct {
	name      string
	blocks    blockWriter
	snapshots snapshotKeeper
	images    imageKeeper
	// notYet is how long "not found" is no answer after a creation.
	notYet time.Duration
	// explain adds what a person can do about a failed call.
	explain func(op, region string, err error) error
	// flags is what every command for a person ends with.
	flags []string
}

func newRegion(f *awsx.Factory, name string, notYet time.Duration) *region {
	r := &region{name: name, blocks: f.EBS(name), notYet: notYet, explain: f.Explain}
	control := f.EC2(name)
	r.snapshots, r.images = control, control
	if url := f.Endpoint(name); url != "" {
		r.flags = append(r.flags, "--endpoint-url", url)
	}
	if profile := f.Profile(); profile != "" {
		r.flags = append(r.flags, "--profile", profile)
	}
	return r
}

// command is what a person types to do the same with the AWS command line.
func (r *region) command(verb string, args ...string) string {
	words := append([]string{"aws", "ec2", verb, "--region", r.name}, args...)
	words = append(words, r.flags...)
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " ")
}

// quote makes one word of a shell command.
func quote(word string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:=,@%+", c)
	}
	if word != "" && strings.IndexFunc(word, func(c rune) bool { return !plain(c) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// nameIsFree fails when the account has an image of this name, deprecated and
// disabled ones included: RegisterImage would refuse it.
func (r *region) nameIsFree(ctx context.Context, name string) error {
	images, err := r.imagesNamed(ctx, name, awsx.Quick)
	if err != nil {
		return r.explain("look for images of the same name", r.name, err)
	}
	if len(images) > 0 {
		return fmt.Errorf("ami_name: %q is taken in %s by %s: choose another name, or remove that image with: %s",
			name, r.name, aws.ToString(images[0].ImageId), r.command("deregister-image", "--image-id", aws.ToString(images[0].ImageId)))
	}
	return nil
}

func (r *region) imagesNamed(ctx context.Context, name string, option func(*ec2.Options)) ([]types.Image, error) {
	out, err := r.images.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:            []string{"self"},
		IncludeDeprecated: aws.Bool(true),
		IncludeDisabled:   aws.Bool(true),
		Filters:           []types.Filter{{Name: aws.String("name"), Values: []string{name}}},
	}, option)
	if err != nil {
		return nil, err
	}
	return out.Images, nil
}

// snapshot returns the state of a snapshot.
func (r *region) snapshot(ctx context.Context, id string) (types.Snapshot, error) {
	out, err := r.snapshots.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		return types.Snapshot{}, err
	}
	if len(out.Snapshots) == 0 {
		return types.Snapshot{}, errAbsent
	}
	return out.Snapshots[0], nil
}

// errAbsent is an empty list where one thing was asked for.
var errAbsent = errors.New("not in the list")

func absent(err error) bool { return errors.Is(err, errAbsent) || awsx.Class(err) == awsx.NotYet }

// waitSnapshot waits until a snapshot is complete.
func (r *region) waitSnapshot(ctx context.Context, w wait.Waiter, id string) error {
	start := time.Now()
	return w.Until(ctx, "snapshot "+id+" in "+r.name+" to be complete (aws_polling sets how long)", func(ctx context.Context) (bool, error) {
		snap, err := r.snapshot(ctx, id)
		switch {
		case err != nil && absent(err) && time.Since(start) < r.notYet:
			return false, nil
		case err != nil:
			return false, r.explain("describe snapshot "+id, r.name, err)
		case snap.State == types.SnapshotStateError:
			return false, fmt.Errorf("snapshot %s in %s failed: %s", id, r.name, cmp.Or(aws.ToString(snap.StateMessage), "EC2 gives no reason"))
		default:
			return snap.State == types.SnapshotStateCompleted, nil
		}
	})
}

// waitImage waits until an image can be launched.
func (r *region) waitImage(ctx context.Context, w wait.Waiter, id string) error {
	start := time.Now()
	return w.Until(ctx, "image "+id+" in "+r.name+" to be available (aws_polling sets how long)", func(ctx context.Context) (bool, error) {
		out, err := r.images.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
		if err == nil && len(out.Images) == 0 {
			err = errAbsent
		}
		switch {
		case err != nil && absent(err) && time.Since(start) < r.notYet:
			return false, nil
		case err != nil:
			return false, r.explain("describe image "+id, r.name, err)
		}
		return available(out.Images[0], r.name)
	})
}

// available tells passing states from those that will never change.
func available(image types.Image, region string) (bool, error) {
	switch image.State {
	case types.ImageStateAvailable:
		return true, nil
	case types.ImageStatePending, types.ImageStateTransient:
		return false, nil
	default:
		reason := "EC2 gives no reason"
		if image.StateReason != nil {
			reason = cmp.Or(aws.ToString(image.StateReason.Message), reason)
		}
		return false, fmt.Errorf("image %s in %s is %s: %s", aws.ToString(image.ImageId), region, image.State, reason)
	}
}
