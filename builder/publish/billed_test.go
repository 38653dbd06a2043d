// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

// billing is EC2 with images that somebody is billed for, except for one.
type billing struct {
	imageKeeper
	except string
}

func (b billing) DescribeImages(ctx context.Context, in *ec2.DescribeImagesInput, o ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	out, err := b.imageKeeper.DescribeImages(ctx, in, o...)
	if err == nil {
		for i := range out.Images {
			if aws.ToString(out.Images[i].ImageId) != b.except {
				out.Images[i].UsageOperation = aws.String("RunInstances:0010")
			}
		}
	}
	return out, err
}

// Only a copy keeps product and billing codes, so the image that has them takes
// its name by being copied.
func TestBilledImageIsCopiedInPlace(t *testing.T) {
	matrix.Quiet(t)
	cloud, err := matrix.Start(t)
	require.NoError(t, err)
	f, err := cloud.Factory(t.Context())
	require.NoError(t, err)
	c := Config{
		AccessConfig: AccessConfig{Region: matrix.Here}, AMIName: "billed", LifeConfig: LifeConfig{ForceDeregister: true, ForceDeleteSnapshot: true},
		Polling: PollingConfig{DelaySeconds: 1}, Facts: Facts{NotYet: 2 * time.Second, DiskName: filepath.Join(t.TempDir(), "disk")},
	}
	require.Empty(t, c.PrepareDisk())
	disk := diskOf(t, 64<<20, map[int64]byte{0: 1})
	old, err := Publish(t.Context(), f, disk, c, &recorder{})
	require.NoError(t, err)

	p, err := New(f, c, &recorder{})
	require.NoError(t, err)
	p.regions[0].images = billing{p.regions[0].images, old.Images[matrix.Here].ImageID}
	copies, registered := cloud.Calls()["ec2:CopyImage"], cloud.Calls()["ec2:RegisterImage"]
	result, err := p.Disk(t.Context(), disk)
	require.NoError(t, err)
	require.Empty(t, result.Left)
	require.Equal(t, copies+1, cloud.Calls()["ec2:CopyImage"])
	require.Equal(t, registered+1, cloud.Calls()["ec2:RegisterImage"], "only under the staging name")
	things, err := cloud.Things(t.Context())
	require.NoError(t, err)
	require.Len(t, things, 2, "one image, one snapshot: %v", things)

	p, err = New(f, c, &recorder{})
	require.NoError(t, err)
	p.regions[0].images = billing{p.regions[0].images, ""}
	require.ErrorContains(t, p.Precheck(t.Context()), "product or billing codes (RunInstances:0010)")
}
