// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

const (
	aKey      = "1234abcd-12ab-34cd-56ef-1234567890ab"
	another   = "mrk-1234abcd12ab34cd56ef1234567890ab"
	parameter = "/images/matrix"
	neighbour = "111122223333"
)

// full is a publication with everything that can be had at a time.
func full(c *matrix.Cloud) publish.Config {
	return publish.Config{
		AccessConfig: publish.AccessConfig{Region: matrix.Here, AccessKey: matrix.AccessKey, SecretKey: matrix.SecretKey, EndpointURL: c.Endpoint, MaxRetries: 3},
		Regions:      []string{matrix.There}, AMIName: "matrix", AMIDescription: "made by a test", BootMode: "uefi", TpmSupport: "v2.0",
		Tags: map[string]string{"Purpose": "test"}, SnapshotTags: map[string]string{"Part": "snapshot"},
		EncryptionConfig: publish.EncryptionConfig{KmsKeyID: aKey, RegionKmsKeyIDs: map[string]string{matrix.There: another}},
		ShareConfig: publish.ShareConfig{
			AMIUsers: []string{neighbour}, SnapshotUsers: []string{neighbour},
			AMIOrgARNs: []string{"arn:aws:organizations::123456789012:organization/o-1234567890"},
		},
		LifeConfig: publish.LifeConfig{
			DeprecateAfter: "90d", Protection: publish.ProtectionConfig{Enabled: true}, ForceDeregister: true, ForceDeleteSnapshot: true,
			Family: "matrix", KeepNewest: 1, SSMParameter: parameter, CatalogueFile: filepath.Join(c.Dir, "catalogue.json"),
		},
		Polling:     publish.PollingConfig{DelaySeconds: 1},
		UndoTimeout: 20 * time.Second,
		Facts:       publish.Facts{NotYet: 8 * time.Second},
	}
}

// open is a publication to the public, by upload into each region, with nothing
// to replace.
func open(c *matrix.Cloud) publish.Config {
	p := full(c)
	p.RegionStrategy, p.EncryptionConfig, p.ForceDeregister, p.ForceDeleteSnapshot = "upload", publish.EncryptionConfig{}, false, false
	p.ShareConfig = publish.ShareConfig{AMIGroups: []string{"all"}, SnapshotGroups: []string{"all"}}
	p.BootTest.Enabled = config.TriFalse // no machine boots here; see package boottest
	return p
}

type told struct{ strings.Builder }

func (t *told) Say(s string) { t.WriteString(s + "\n") }

func run(ctx context.Context, c *matrix.Cloud, p publish.Config) (*publish.Result, string, error) {
	if errs := p.PrepareDisk(); len(errs) > 0 {
		return nil, "", errors.Join(errs...)
	}
	disk := filepath.Join(c.Dir, "disk.raw")
	if err := tinyDisk(disk); err != nil {
		return nil, "", err
	}
	f, err := awsx.New(ctx, p.AWS())
	if err != nil {
		return nil, "", err
	}
	var ui told
	result, err := publish.Publish(ctx, f, disk, p, &ui)
	return result, ui.String(), err
}

func tinyDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("beginning"), 0)
	return errors.Join(err, f.Truncate(600<<20), f.Close())
}

// seed makes the images that are to be replaced, or to be too many: one of the
// same name with tags, sharing, deprecation and protection, one of the family.
func seed(ctx context.Context, c *matrix.Cloud) error {
	older := full(c)
	older.AMIName, older.Family, older.Protection.Enabled, older.ForceDeregister, older.ForceDeleteSnapshot = "older", "matrix", false, false, false
	older.DeprecateAfter, older.KeepNewest, older.SSMParameter, older.CatalogueFile = "", 0, "", ""
	if _, _, err := run(ctx, c, older); err != nil {
		return err
	}
	same := full(c)
	same.Family, same.KeepNewest, same.CatalogueFile, same.ForceDeregister, same.ForceDeleteSnapshot = "", 0, "", false, false
	same.EncryptionConfig, same.DeprecateAfter = publish.EncryptionConfig{}, "30d"
	_, _, err := run(ctx, c, same)
	return errors.Join(err, os.Remove(filepath.Join(c.Dir, "disk.raw.blocks")))
}

// unblock allows what new accounts do not, and leaves a parameter.
func unblock(ctx context.Context, c *matrix.Cloud) error {
	f, err := c.Factory(ctx)
	if err != nil {
		return err
	}
	for _, region := range []string{matrix.Here, matrix.There} {
		_, err1 := f.EC2(region).DisableImageBlockPublicAccess(ctx, &ec2.DisableImageBlockPublicAccessInput{})
		_, err2 := f.EC2(region).DisableSnapshotBlockPublicAccess(ctx, &ec2.DisableSnapshotBlockPublicAccessInput{})
		_, err3 := f.SSM(region).PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String(parameter), Value: aws.String("former"), Type: ssmtypes.ParameterTypeString})
		err = errors.Join(err, err1, err2, err3)
	}
	return err
}

// whole reads back everything that a publication promises.
func whole(config func(*matrix.Cloud) publish.Config) func(context.Context, *matrix.Cloud) error {
	return func(ctx context.Context, c *matrix.Cloud) error {
		f, err := c.Factory(ctx)
		if err != nil {
			return err
		}
		var wrong []error
		for _, region := range []string{matrix.Here, matrix.There} {
			wrong = append(wrong, wholeRegion(ctx, f, region, config(c)))
		}
		return errors.Join(wrong...)
	}
}

func wholeRegion(ctx context.Context, f *awsx.Factory, region string, p publish.Config) error {
	images, err := f.EC2(region).DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		return err
	}
	snapshots, err := f.EC2(region).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		return err
	}
	if len(images.Images) != 1 || len(snapshots.Snapshots) != 1 {
		return fmt.Errorf("%s has %d images and %d snapshots, not one of each", region, len(images.Images), len(snapshots.Snapshots))
	}
	i, s := images.Images[0], snapshots.Snapshots[0]
	launch, err1 := f.EC2(region).DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
	volume, err2 := f.EC2(region).DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{SnapshotId: s.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
	value, err3 := f.SSM(region).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(parameter)})
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	tags := map[string]string{}
	for _, t := range i.Tags {
		tags[*t.Key] = *t.Value
	}
	_, named := tags["rightimage:temporary"]
	key := ""
	if p.KmsKeyID != "" {
		key = map[string]string{matrix.Here: aKey, matrix.There: another}[region]
	}
	var wrong []error
	check := func(what string, ok bool) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s: %s", region, what))
		}
	}
	check("name "+aws.ToString(i.Name), aws.ToString(i.Name) == p.AMIName)
	check("description "+aws.ToString(i.Description), aws.ToString(i.Description) == p.AMIDescription)
	check("state "+string(i.State), i.State == types.ImageStateAvailable)
	check("boot mode, TPM, IMDS, ENA", i.BootMode == "uefi" && i.TpmSupport == "v2.0" && i.ImdsSupport == "v2.0" && aws.ToBool(i.EnaSupport))
	check("deprecation "+aws.ToString(i.DeprecationTime), (p.DeprecateAfter != "") == (aws.ToString(i.DeprecationTime) != ""))
	check("protection "+aws.ToString(i.DeregistrationProtection), strings.HasPrefix(aws.ToString(i.DeregistrationProtection), "enabled") == p.Protection.Enabled)
	check(fmt.Sprint("tags ", tags), tags["Purpose"] == "test" && tags["rightimage:family"] == p.Family && tags["rightimage:publish-id"] != "" && !named)
	check("encryption", aws.ToBool(s.Encrypted) == (key != "") && strings.HasSuffix(aws.ToString(s.KmsKeyId), key))
	check(fmt.Sprint("launch permissions ", launch.LaunchPermissions), len(launch.LaunchPermissions) == len(p.AMIUsers)+len(p.AMIGroups)+len(p.AMIOrgARNs))
	check("volume permissions", len(volume.CreateVolumePermissions) == len(p.SnapshotUsers)+len(p.SnapshotGroups))
	check("parameter "+aws.ToString(value.Parameter.Value), aws.ToString(value.Parameter.Value) == aws.ToString(i.ImageId))
	return errors.Join(wrong...)
}

// removals are the calls with which publishing removes things.
func removals() []string {
	return []string{"ec2:DeregisterImage", "ec2:DeleteSnapshot", "ec2:DisableImageDeregistrationProtection", "ssm:DeleteParameter", "ssm:PutParameter"}
}

func TestEveryCallFails(t *testing.T) {
	for name, r := range map[string]struct {
		seed   func(context.Context, *matrix.Cloud) error
		config func(*matrix.Cloud) publish.Config
	}{
		"copies, keys, replacing":  {seed, full},
		"uploads, open to anybody": {unblock, open},
	} {
		t.Run(name, func(t *testing.T) {
			matrix.Test(t, matrix.Run{
				Seed: r.seed,
				Do: func(ctx context.Context, c *matrix.Cloud) (string, error) {
					result, told, err := run(ctx, c, r.config(c))
					if err == nil {
						told += result.String()
					}
					return told, err
				},
				Done: whole(r.config), Removals: removals(),
			})
		})
	}
}
