// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// console is what a machine prints, in a cloud without machines; seen is called
// when it is looked at.
type console struct {
	boottest.Control
	text string
	seen func()
}

func (c console) GetConsoleOutput(context.Context, *ec2.GetConsoleOutputInput, ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error) {
	if c.seen != nil {
		c.seen()
	}
	return &ec2.GetConsoleOutputOutput{Output: aws.String(base64.StdEncoding.EncodeToString([]byte(c.text)))}, nil
}

// openCloud is a cloud that lets images be public, with the options of such an
// image in two regions.
func openCloud(t *testing.T) (*matrix.Cloud, *awsx.Factory, Config) {
	t.Helper()
	matrix.Quiet(t)
	c, err := matrix.Start(t)
	require.NoError(t, err)
	f, err := c.Factory(t.Context())
	require.NoError(t, err)
	for _, region := range []string{matrix.Here, matrix.There} {
		_, err := f.EC2(region).DisableImageBlockPublicAccess(t.Context(), &ec2.DisableImageBlockPublicAccessInput{})
		require.NoError(t, err)
	}
	return c, f, Config{
		AccessConfig: AccessConfig{Region: matrix.Here, AccessKey: matrix.AccessKey, SecretKey: matrix.SecretKey, EndpointURL: c.Endpoint, MaxRetries: 3},
		Regions:      []string{matrix.There}, AMIName: "tested", ShareConfig: ShareConfig{AMIGroups: []string{"all"}},
		VerifyConfig: VerifyConfig{BootTest: boottest.Config{Connect: boottest.Console}},
		Polling:      PollingConfig{DelaySeconds: 1}, UndoTimeout: 5 * time.Second, Facts: Facts{NotYet: 500 * time.Millisecond},
	}
}

// off switches a boot test off where the name of the package means options.
const off = config.TriFalse

func prepared(t *testing.T, f *awsx.Factory, c Config) (*Publisher, *recorder) {
	t.Helper()
	require.NoError(t, errors.Join(c.PrepareDisk()...))
	ui := new(recorder)
	p, err := New(f, c, ui)
	require.NoError(t, err)
	return p, ui
}

func things(t *testing.T, c *matrix.Cloud) []matrix.Thing {
	t.Helper()
	all, err := c.Things(t.Context())
	require.NoError(t, err)
	return all
}

// A public image is launched before anything of it is in another region or can
// be seen by others, and is shared when the machine is good.
func TestBootTestComesFirst(t *testing.T) {
	c, f, config := openCloud(t)
	p, _ := prepared(t, f, config)
	looked := false
	p.regions[0].machines = console{p.regions[0].machines, "web login: ", func() {
		looked = true
		calls := c.Calls()
		require.Equal(t, 1, calls["ec2:RunInstances"])
		require.Zero(t, calls["ec2:CopyImage"])
		require.Zero(t, calls["ec2:ModifyImageAttribute"])
	}}
	result, err := p.Disk(t.Context(), diskOf(t, 1<<30, map[int64]byte{0: 1}))
	require.NoError(t, err)
	require.True(t, looked)
	require.Empty(t, result.Left)
	require.Contains(t, result.Seconds, "boot test")
	require.Equal(t, 1, c.Calls()["ec2:TerminateInstances"])
	for region, image := range result.Images {
		out, err := f.EC2(region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image.ImageID}})
		require.NoError(t, err)
		require.True(t, *out.Images[0].Public)
	}
	require.Len(t, things(t, c), 4, "two images and their snapshots")
}

// An image that does not boot is never copied nor shared, and nothing is left;
// nor is it when the build is cancelled meanwhile.
func TestBootTestFails(t *testing.T) {
	c, f, config := openCloud(t)
	disk := diskOf(t, 1<<30, map[int64]byte{0: 1})
	config.RegionStrategy, config.Regions = "", []string{matrix.There}
	for name, tc := range map[string]struct {
		text   string
		cancel bool
		want   string
	}{
		"panic":     {"Run /sbin/init\nKernel panic - not syncing: Attempted to kill init!\n", false, "live-boot: the kernel panicked"},
		"cancelled": {"Loading\n", true, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := prepared(t, f, config)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			seen := func() {
				if tc.cancel {
					cancel()
				}
			}
			p.regions[0].machines = console{p.regions[0].machines, tc.text, seen}
			_, err := p.Disk(ctx, disk)
			require.ErrorContains(t, err, tc.want)
			var failed *boottest.FailedError
			require.Equal(t, !tc.cancel, errors.As(err, &failed))
			require.Empty(t, things(t, c))
			require.Zero(t, c.Calls()["ec2:CopyImage"])
			require.Zero(t, c.Calls()["ec2:ModifyImageAttribute"])
		})
	}
}

// A private image is not launched unless the template says so, and a public one
// is unless it says otherwise.
func TestBootTestIsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		share   ShareConfig
		enabled config.Trilean
		want    bool
	}{
		"public":             {ShareConfig{AMIGroups: []string{"all"}}, config.TriUnset, true},
		"public snapshots":   {ShareConfig{SnapshotGroups: []string{"all"}}, config.TriUnset, true},
		"public, off":        {ShareConfig{AMIGroups: []string{"all"}}, config.TriFalse, false},
		"another account":    {ShareConfig{AMIUsers: []string{"111122223333"}}, config.TriUnset, false},
		"private, asked for": {ShareConfig{}, config.TriTrue, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{ShareConfig: tc.share, VerifyConfig: VerifyConfig{BootTest: boottest.Config{Enabled: tc.enabled}}}
			require.Equal(t, tc.want, c.BootTested())
			if !tc.want {
				require.NoError(t, (&Publisher{Config: c}).bootTest(t.Context(), newBuild()), "without regions: a launch would panic")
			}
		})
	}
}

// A machine that cannot be terminated is named, although the image is good.
func TestBootTestLeavesAMachine(t *testing.T) {
	c, f, config := openCloud(t)
	p, _ := prepared(t, f, config)
	_, err := c.Faults().Add(fault.Rule{Action: "TerminateInstances", Kind: fault.Deny})
	require.NoError(t, err)
	p.regions[0].machines = console{p.regions[0].machines, "web login: ", nil}
	result, err := p.Disk(t.Context(), diskOf(t, 1<<30, map[int64]byte{0: 1}))
	require.NoError(t, err)
	require.Contains(t, result.String(), "left behind, remove by hand:\n  instance i-")
	require.Contains(t, result.String(), "aws ec2 terminate-instances")
}

// The snapshots of a machine are searched where they are, before others get them.
func TestSnapshotWithAKeyIsRefused(t *testing.T) {
	c, f, config := openCloud(t)
	source := config
	source.AMIName, source.Regions, source.ShareConfig = "source", nil, ShareConfig{}
	p, _ := prepared(t, f, source)
	made, err := p.Disk(t.Context(), keyDisk(t))
	require.NoError(t, err)
	control := f.EC2(matrix.Here)
	machine, err := control.RunInstances(t.Context(), &ec2.RunInstancesInput{
		ImageId: aws.String(made.Images[matrix.Here].ImageID), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeT3Small,
	})
	require.NoError(t, err)
	create := func(ctx context.Context, _ *ledger.Ledger, in NewImage) (string, error) {
		out, err := control.CreateImage(ctx, &ec2.CreateImageInput{
			InstanceId: machine.Instances[0].InstanceId, Name: aws.String(in.Name), NoReboot: aws.Bool(true),
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: in.ImageTags}, {ResourceType: types.ResourceTypeSnapshot, Tags: in.SnapshotTags}},
		})
		if err != nil {
			return "", err
		}
		return *out.ImageId, nil
	}
	waivers := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(waivers, []byte("waivers:\n  - {id: fs-deleted-data, path: '*', reason: made up, expires: 2999-01-01}\n"), 0o600))
	before := things(t, c)

	config.BootTest.Enabled = off
	p, _ = prepared(t, f, config)
	_, err = p.Image(t.Context(), create)
	var unfit *UnfitError
	require.ErrorAs(t, err, &unfit)
	require.ErrorContains(t, err, "snapshot snap-")
	require.ErrorContains(t, err, "AWS access key")
	require.NotContains(t, err.Error(), corpus.KeySecret())
	require.Empty(t, matrix.Minus(things(t, c), before))
	require.Zero(t, c.Calls()["ec2:CopyImage"])

	config.AMIName, config.WaiversFile = "waived", waivers
	p, _ = prepared(t, f, config)
	_, err = p.Image(t.Context(), create)
	require.NoError(t, err)

	// A private image is told of, also when its blocks cannot be read.
	config.ShareConfig, config.AMIName, config.WaiversFile = ShareConfig{}, "private", ""
	p, ui := prepared(t, f, config)
	_, err = p.Image(t.Context(), create)
	require.NoError(t, err)
	require.Contains(t, strings.Join(ui.lines, "\n"), "warning: fs-deleted-data: the disk AWS access key")
	_, err = c.Faults().Add(fault.Rule{Service: "ebs", Action: "GetSnapshotBlock", Kind: fault.Deny})
	require.NoError(t, err)
	config.AMIName = "private too"
	p, ui = prepared(t, f, config)
	_, err = p.Image(t.Context(), create)
	require.NoError(t, err)
	require.Contains(t, strings.Join(ui.lines, "\n"), "could not be searched")
	config.AMIName, config.SkipDiskScan = "not searched", true
	p, ui = prepared(t, f, config)
	_, err = p.Image(t.Context(), create)
	require.NoError(t, err)
	require.NotContains(t, strings.Join(ui.lines, "\n"), "searching")
}
