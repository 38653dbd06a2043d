// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/diskfile"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/raw"
	"github.com/rightimage/packer-plugin-rightimage/verify/snapshot"
)

// inCloud matches what is in a cloud, rather than on this machine.
var inCloud = regexp.MustCompile(`\A(ami|snap)-[0-9a-f]{8,17}\z`)

// part is a snapshot of an image. name is "" for what is verified alone.
type part struct {
	name, snapshot string
	root           bool
}

// cloud verifies an AMI or a snapshot. Its blocks are read through the EBS direct
// APIs: no volume is made, and no machine.
func (f verifyFlags) cloud(ctx context.Context, target string, o verify.Options, ui *progress) (*verify.Report, error) {
	factory, err := awsx.New(ctx, awsx.Config{Region: f.region, Profile: f.profile})
	if err != nil {
		return nil, err
	}
	parts, err := snapshotsOf(ctx, factory, f.region, target)
	if err != nil {
		return nil, factory.Explain("look up "+target, f.region, err)
	}
	all := &verify.Report{Target: target, Public: o.Public, Findings: []verify.Finding{}}
	for _, p := range parts {
		report, err := f.snapshot(ctx, factory, p, o, ui)
		if err != nil {
			return nil, err
		}
		for i := range report.Findings {
			if !p.root { // paths are those of the root device
				report.Findings[i].Path = p.name + ": " + report.Findings[i].Path
			}
		}
		all.System = cmp.Or(all.System, report.System)
		all.Merge(report)
	}
	all.Unused = unusedIn(all, o)
	return all, nil
}

// snapshotsOf are the snapshots of an image, or the one that was named.
func snapshotsOf(ctx context.Context, factory *awsx.Factory, region, target string) ([]part, error) {
	if target[0] == 's' {
		return []part{{snapshot: target, root: true}}, nil
	}
	out, err := factory.EC2(region).DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{target}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true)}, awsx.Quick)
	if err != nil {
		return nil, err
	}
	if len(out.Images) == 0 {
		return nil, errors.New("there is no such image, or it is not shared with this account: check --region")
	}
	var parts []part
	for _, d := range out.Images[0].BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) != "" {
			name := aws.ToString(d.DeviceName)
			parts = append(parts, part{name, aws.ToString(d.Ebs.SnapshotId), name == aws.ToString(out.Images[0].RootDeviceName)})
		}
	}
	if len(parts) == 0 {
		return nil, errors.New("the image has no snapshots")
	}
	return parts, nil
}

// snapshot verifies one snapshot. Its blocks alone are searched as they come; to
// look at the files of a root device, it is copied into a sparse file first.
func (f verifyFlags) snapshot(ctx context.Context, factory *awsx.Factory, p part, o verify.Options, ui *progress) (*verify.Report, error) {
	disk, err := snapshot.Open(ctx, factory.EBS(f.region), p.snapshot, snapshot.Options{})
	if err != nil {
		return nil, factory.Explain("read "+p.snapshot, f.region, err)
	}
	defer disk.Close() //nolint:errcheck // only read
	if f.noTree || !p.root {
		if f.noRaw {
			return &verify.Report{Target: p.snapshot, Public: o.Public}, nil
		}
		report, err := raw.Search(ctx, disk, p.snapshot, f.rawOptions(o, ui))
		return report, factory.Explain("read "+p.snapshot, f.region, err)
	}
	dir, err := os.MkdirTemp(f.tempDir, "rightimage-verify-")
	if err != nil {
		return nil, fmt.Errorf("--temp-directory: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the report matters more
	if err := diskfile.CheckSpace(dir, disk.Data(), "choose a larger disk with --temp-directory, or search the blocks alone with --no-mount"); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, p.snapshot+".raw")
	err = disk.Copy(path, func(done, total int64) {
		ui.Line(fmt.Sprintf("reading %s: %d of %d MiB", p.snapshot, done>>20, total>>20))
	})
	if err != nil {
		return nil, factory.Explain("read "+p.snapshot, f.region, err)
	}
	return f.disk(ctx, path, o, ui)
}
