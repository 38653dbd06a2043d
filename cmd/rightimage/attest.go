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
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	blocks "github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
)

const attestHelp = `Prove what a disk is, and check that an AMI is that disk.

A statement says by whom, when and of what a disk was made, and has its digest: one that
can be computed from the file and from the blocks of a snapshot alike, so that every copy
of an image, in every region, has the same. It is an in-toto statement with SLSA v1
provenance; signed, it is a sigstore bundle. The builders and "rightimage publish" write
it too (docs/proof.md).`

func attestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "attest",
		Short: "Sign what a disk is, and compare AMIs with it",
		Long:  attestHelp,
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(attestSignCommand(), attestVerifyCommand())
	return cmd
}

// attestFlags are what both commands need to find an AMI and its entry.
type attestFlags struct {
	region    string
	catalogue string
	json      bool
	given     *options
}

func (f *attestFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.region, "region", "", "region of the AMI")
	flags.StringVar(&f.catalogue, "catalogue-file", "", "catalogue that knows the image (default: "+catalogue.FileName+" beside the disk, or here)")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON")
	// Keys on a command line can be read by everybody on the machine.
	f.given = addOptions(flags, publish.AccessConfig{}, "region", "access_key", "secret_key", "token")
	cmd.SetUsageTemplate(wideUsage)
}

// amiID tells the id of an AMI from the name of a file.
func amiID(s string) bool { return regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`).MatchString(s) }

// access makes the clients.
func (f *attestFlags) access(ctx context.Context) (*awsx.Factory, error) {
	var c publish.Config
	if err := config.Decode(&c, &config.DecodeOpts{}, f.given.values); err != nil {
		return nil, usageError{err}
	}
	c.Region = f.region
	return awsx.New(ctx, c.AWS())
}

// found is a disk or AMI that was read.
type found struct {
	blocks   *sparse.Linear
	gib      int64
	snapshot string // of an AMI
	// entry is what the catalogue at path says of it; nil when none knows it.
	entry *catalogue.Entry
	path  string
}

// find looks the target up in the catalogue, which knows the region of an AMI.
func (f *attestFlags) find(d *found, target string) error {
	if !amiID(target) {
		return f.lookUp(d, filepath.Dir(target), func(e catalogue.Entry) bool { return e.Disk.File == filepath.Base(target) })
	}
	return f.lookUp(d, "", func(e catalogue.Entry) bool {
		for region, i := range e.Images {
			if i.ImageID == target {
				f.region = cmp.Or(f.region, region)
				return true
			}
		}
		return false
	})
}

// read reads the blocks of a disk or an AMI, and looks it up in the catalogue.
func (f *attestFlags) read(ctx context.Context, target string, ui *progress) (*found, error) {
	d := &found{path: f.catalogue}
	if err := f.find(d, target); err != nil {
		return nil, err
	}
	if amiID(target) {
		return d, f.readAMI(ctx, d, target, ui)
	}
	disk, err := sparse.Open(target)
	if err != nil {
		return nil, err
	}
	defer disk.Close() //nolint:errcheck // only read
	d.gib = disk.SizeGiB()
	d.blocks, err = attest.Blocks(ctx, disk, func(done, total int64) {
		ui.Line(fmt.Sprintf("%d of %d MiB read", done>>20, total>>20))
	})
	return d, err
}

// lookUp finds the entry of the target: in the catalogue that was named, or in
// the one beside it.
func (f *attestFlags) lookUp(d *found, dir string, is func(catalogue.Entry) bool) error {
	if d.path == "" {
		d.path = filepath.Join(dir, catalogue.FileName)
	} else if _, err := os.Stat(d.path); err != nil {
		return fmt.Errorf("--catalogue-file: %w", err)
	}
	file, err := catalogue.Read(d.path)
	if err != nil {
		return err
	}
	for i := len(file.Entries) - 1; i >= 0; i-- {
		if is(file.Entries[i]) {
			d.entry = &file.Entries[i]
			return nil
		}
	}
	if f.catalogue != "" {
		return fmt.Errorf("--catalogue-file: %s does not know this image", f.catalogue)
	}
	return nil
}

// readAMI reads the root snapshot of an AMI back.
func (f *attestFlags) readAMI(ctx context.Context, d *found, id string, ui *progress) error {
	if f.region == "" {
		return usageError{errors.New("--region: name the region of the AMI, or a --catalogue-file that knows it")}
	}
	factory, err := f.access(ctx)
	if err != nil {
		return err
	}
	out, err := factory.EC2(f.region).DescribeImages(ctx, &ec2.DescribeImagesInput{
		ImageIds: []string{id}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true),
	})
	if err != nil {
		return factory.Explain("look at "+id, f.region, err)
	}
	if len(out.Images) == 0 {
		return fmt.Errorf("there is no image %s in %s", id, f.region)
	}
	if d.snapshot = publish.RootSnapshot(out.Images[0]); d.snapshot == "" {
		return fmt.Errorf("image %s in %s has no snapshot of its root device", id, f.region)
	}
	m, err := blocks.ReadBack(ctx, f.region, factory.EBS(f.region), d.snapshot, blocks.Options{}, func(done int64) {
		ui.Line(fmt.Sprintf("%s: %d MiB read", d.snapshot, done>>20))
	})
	if err != nil {
		return factory.Explain("read "+d.snapshot+" back", f.region, err)
	}
	d.blocks, d.gib = m.Sums, m.VolumeGiB
	return nil
}
