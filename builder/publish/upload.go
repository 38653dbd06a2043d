// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Bounds of StartSnapshot's Timeout in minutes, from the EBS API reference.
const (
	minSnapshotTimeout = 10
	maxSnapshotTimeout = 4320
)

// upload makes a snapshot of the disk. It is owed from the moment it may exist.
func (p *Publisher) upload(ctx context.Context, b *build, r *region, disk *sparse.Disk) (*upload.Snapshot, error) {
	key, err := p.uploadKey(ctx, r)
	if err != nil {
		return nil, err
	}
	parent, err := p.parent(ctx, r, key)
	if err != nil {
		return nil, err
	}
	tell, every := p.progress(r.name)
	snap, err := upload.Upload(ctx, disk, p.target(r, key, &b.owed), upload.Options{
		Concurrency:    p.UploadConcurrency,
		AttemptTimeout: p.UploadAttemptTimeout,
		StallTimeout:   p.UploadTimeout,
		NotYet:         r.notYet,
		Journal:        p.journal(r),
		Parent:         parent,
		Sums:           p.resume.sums,
		Report:         tell,
		ReportEvery:    every,
		Say:            func(line string) { p.say("%s: %s", r.name, line) },
	})
	return snap, r.explain("upload", r.name, err)
}

// uploadKey is the ARN of the key that an upload is encrypted with: the one
// form that StartSnapshot takes. "" is the default key, or none.
func (p *Publisher) uploadKey(ctx context.Context, r *region) (string, error) {
	key := p.keyOf(r.name)
	if key == "" || strings.HasPrefix(key, "arn:") {
		return key, nil
	}
	out, err := p.caller.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", r.explain("look up the account of the KMS key", r.name, err)
	}
	partition := "aws"
	if parts := strings.Split(aws.ToString(out.Arn), ":"); len(parts) > 1 {
		partition = parts[1]
	}
	return fmt.Sprintf("arn:%s:kms:%s:%s:key/%s", partition, r.name, aws.ToString(out.Account), strings.TrimPrefix(key, "key/")), nil
}

// target is a region as the uploader sees it.
func (p *Publisher) target(r *region, key string, owed *ledger.Ledger) upload.Target {
	return upload.Target{
		Region: r.name,
		API:    r.blocks,
		Read:   r.blocks,
		Start: func(token string) *ebs.StartSnapshotInput {
			in := &ebs.StartSnapshotInput{
				Description: aws.String("RightImage " + p.AMIName),
				Tags:        ebsTags(p.snapshotTags(token)),
				Timeout:     aws.Int32(p.snapshotTimeout()),
			}
			if p.encryption() == encrypted {
				in.Encrypted, in.KmsKeyArn = aws.Bool(true), text(key)
			}
			return in
		},
		Made: func(id string) func() {
			debt := r.oweSnapshot(owed, id)
			return func() { owed.Forgive(debt) }
		},
		Unknown: func(token string) func() {
			debt := r.oweUnknownSnapshot(owed, token)
			return func() { owed.Forgive(debt) }
		},
		State: r.uploadState,
		Discard: func(ctx context.Context, old upload.Stale) error {
			if old.SnapshotID != "" {
				return r.deleteSnapshot(ctx, old.SnapshotID, time.Time{})
			}
			ids, err := r.snapshotsTagged(ctx, old.Token)
			for _, id := range ids {
				err = errors.Join(err, r.deleteSnapshot(ctx, id, time.Time{}))
			}
			return err
		},
	}
}

// retag gives a snapshot that an earlier run started the tags of this one.
func (p *Publisher) retag(ctx context.Context, r *region, snap *upload.Snapshot) error {
	if !snap.Resumed {
		return nil
	}
	_, err := r.snapshots.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{snap.ID}, Tags: ec2Tags(p.snapshotTags(snap.Token))})
	return r.explain("tag snapshot "+snap.ID, r.name, err)
}

// snapshotTimeout is after how many idle minutes the service itself drops the
// snapshot: longer than we would wait, so that it is only for a dead builder.
func (p *Publisher) snapshotTimeout() int32 {
	idle := 2*p.UploadTimeout + p.UndoTimeout
	return int32(min(max(idle/time.Minute, minSnapshotTimeout), maxSnapshotTimeout))
}

// uploadState is the state of a snapshot in the uploader's words.
func (r *region) uploadState(ctx context.Context, id string) (upload.State, error) {
	snap, err := r.snapshot(ctx, id)
	switch {
	case err != nil && absent(err):
		return upload.Absent, nil
	case err != nil:
		return "", err
	}
	switch snap.State {
	case types.SnapshotStatePending:
		return upload.Pending, nil
	case types.SnapshotStateCompleted:
		return upload.Completed, nil
	default:
		return upload.Failed, nil
	}
}

// size writes a number of bytes for people.
func size(n int64) string { return upload.Size(n) }
