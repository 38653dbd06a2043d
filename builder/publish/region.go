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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// notYetWindow is how long after its creation a thing may still be unknown to
// some of the service's machines. Two minutes were observed.
const notYetWindow = 2 * time.Minute

// region is what the flow needs of one region.
type region struct {
	name       string
	blocks     blockStore
	snapshots  snapshotKeeper
	images     imageKeeper
	attributes attributeKeeper
	account    accountReader
	parameters parameterKeeper
	machines   boottest.Control
	// notYet is how long "not found" is no answer after a creation.
	notYet time.Duration
	// explain adds what a person can do about a failed call.
	explain func(op, region string, err error) error
	// flags is what every command for a person ends with.
	flags []string
	// endpoint is the URL of the cloud when it is not AWS.
	endpoint string

	// old is the image of the same name that the precheck found, and that is to
	// be replaced; replaced are those that were, returned the ids of those that
	// were registered again after all, by their former ids.
	old      *types.Image
	replaced []types.Image
	returned map[string]string
}

func newRegion(f *awsx.Factory, name string, notYet time.Duration) *region {
	r := &region{name: name, blocks: f.EBS(name), parameters: f.SSM(name), notYet: notYet, explain: f.Explain, returned: map[string]string{}}
	control := f.EC2(name)
	r.snapshots, r.images, r.attributes, r.account, r.machines = control, control, control, control, control
	if r.endpoint = f.Endpoint(name); r.endpoint != "" {
		r.flags = append(r.flags, "--endpoint-url", r.endpoint)
	}
	if profile := f.Profile(); profile != "" {
		r.flags = append(r.flags, "--profile", profile)
	}
	return r
}

// removed reports whether this run has deregistered an image.
func (r *region) removed(id string) bool {
	return slices.ContainsFunc(r.replaced, func(i types.Image) bool { return aws.ToString(i.ImageId) == id })
}

// command is what a person types to do the same with the AWS command line.
func (r *region) command(verb string, args ...string) string {
	return r.line("ec2", verb, args)
}

func (r *region) ssmCommand(verb string, args ...string) string { return r.line("ssm", verb, args) }

func (r *region) line(service, verb string, args []string) string {
	words := append([]string{"aws", service, verb, "--region", r.name}, args...)
	return awsx.Line(append(words, r.flags...))
}

// findImages and findSnapshots are the commands that list what carries a tag.
func (r *region) findImages(publishID string) string {
	return r.command("describe-images", "--owners", "self", "--filters", "Name=tag:"+tagPublishID+",Values="+publishID)
}

func (r *region) findSnapshots(publishID string) string {
	return r.command("describe-snapshots", "--owner-ids", "self", "--filters", "Name=tag:"+tagPublishID+",Values="+publishID)
}

// imagesNamed are the account's images of a name, deprecated and disabled ones
// included.
func (r *region) imagesNamed(ctx context.Context, name string, options ...func(*ec2.Options)) ([]types.Image, error) {
	return r.describeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("name"), Values: []string{literal(name)}}},
	}, options...)
}

// imagesTagged and snapshotsTagged find what a run has made.
func (r *region) imagesTagged(ctx context.Context, publishID string) ([]types.Image, error) {
	return r.describeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []types.Filter{{Name: aws.String("tag:" + tagPublishID), Values: []string{publishID}}},
	}, awsx.Once)
}

func (r *region) snapshotsTagged(ctx context.Context, publishID string) ([]string, error) {
	out, err := r.snapshots.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
		OwnerIds: []string{"self"},
		Filters:  []types.Filter{{Name: aws.String("tag:" + tagPublishID), Values: []string{publishID}}},
	}, awsx.Once)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, s := range out.Snapshots {
		ids = append(ids, aws.ToString(s.SnapshotId))
	}
	return ids, nil
}

// literal makes a filter's value match itself only.
func literal(value string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`).Replace(value)
}

// describeImages returns all pages.
func (r *region) describeImages(ctx context.Context, in *ec2.DescribeImagesInput, options ...func(*ec2.Options)) ([]types.Image, error) {
	in.IncludeDeprecated, in.IncludeDisabled = aws.Bool(true), aws.Bool(true)
	var all []types.Image
	for {
		out, err := r.images.DescribeImages(ctx, in, options...)
		if err != nil {
			return nil, err
		}
		all = append(all, out.Images...)
		if aws.ToString(out.NextToken) == "" {
			return all, nil
		}
		in.NextToken = out.NextToken
	}
}

// snapshotsOf describes the snapshots that an image is made of, except those
// that were there before the image.
func (r *region) snapshotsOf(ctx context.Context, i types.Image, except []string) ([]types.Snapshot, error) {
	ids := slices.DeleteFunc(mappedSnapshots(i), func(id string) bool { return slices.Contains(except, id) })
	if len(ids) == 0 {
		return nil, nil
	}
	out, err := r.snapshots.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: ids})
	if err != nil {
		return nil, err
	}
	if len(out.Snapshots) < len(ids) {
		return nil, errAbsent
	}
	return out.Snapshots, nil
}

// patiently repeats a call about something so new that not every machine of
// the service knows it yet.
func (r *region) patiently(ctx context.Context, w wait.Waiter, call func(context.Context) error) error {
	start := time.Now()
	var last error
	w.Attempts, w.Deadline = 0, r.notYet
	err := w.Until(ctx, "what was just made to be known", func(ctx context.Context) (bool, error) {
		last = call(ctx)
		if last != nil && absent(last) && time.Since(start) < r.notYet {
			return false, nil
		}
		return last == nil, last
	})
	var late *wait.TimeoutError
	if errors.As(err, &late) {
		return last
	}
	return err
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

// waitImage waits until an image can be launched, and returns it.
func (r *region) waitImage(ctx context.Context, w wait.Waiter, id string) (types.Image, error) {
	start := time.Now()
	var last types.Image
	err := w.Until(ctx, "image "+id+" in "+r.name+" to be available (aws_polling sets how long)", func(ctx context.Context) (bool, error) {
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
		last = out.Images[0]
		return available(last, r.name)
	})
	return last, err
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
