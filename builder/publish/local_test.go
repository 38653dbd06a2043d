// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

func TestLocalPublish(t *testing.T) {
	c := startCloud(t)
	disk := sparseDisk(t, 3<<30+12345, 250)
	p := c.config()
	p.Regions = []string{there}
	p.Tags = map[string]string{"Family": "test"}
	result, err := c.publish(t.Context(), disk, p, &lines{t: t})
	require.NoError(t, err)
	require.Len(t, result.Images, 2)
	for region, image := range result.Images {
		out, err := c.factory().EC2(region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image.ImageID}})
		require.NoError(t, err)
		got := out.Images[0]
		require.Equal(t, p.AMIName, *got.Name)
		require.Equal(t, types.ImdsSupportValuesV20, got.ImdsSupport)
		require.Equal(t, types.ArchitectureValuesX8664, got.Architecture)
		require.True(t, *got.EnaSupport)
		require.EqualValues(t, 4, *got.BlockDeviceMappings[0].Ebs.VolumeSize)
		require.NotEmpty(t, got.Tags)
		c.requireSame(disk, region, image.SnapshotIDs[0])
	}
	_, err = c.publish(t.Context(), disk, p, &lines{t: t})
	require.ErrorContains(t, err, "is taken in "+here)
	require.ErrorContains(t, err, "is taken in "+there)
	require.NoError(t, result.Destroy(t.Context(), c.factory()))
	require.Empty(t, c.left())
	require.NoError(t, result.Destroy(t.Context(), c.factory()), "destroying twice is no error")
}

// Each call of the run goes wrong in each way; what must not happen is a
// leftover, or a result that is not whole.
func TestLocalFaults(t *testing.T) {
	c := startCloud(t, func(l *local.Config) { l.Settle = 0 })
	disk := sparseDisk(t, 1<<30, 10)
	for _, action := range []string{"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "DescribeSnapshots", "RegisterImage", "DescribeImages"} {
		for _, rule := range []fault.Rule{
			{Kind: fault.Deny}, {Kind: fault.Throttle, Times: 3}, {Kind: fault.Drop, Times: 2}, {Kind: fault.LostReply, Times: 1},
			{Kind: fault.Error, Code: "InternalError", Status: 500, Times: 2}, {Kind: fault.Error, Code: "InvalidParameterValue", Nth: 2},
			{Kind: fault.Delay, DelayMS: 300},
		} {
			t.Run(fmt.Sprintf("%s %s%s", action, rule.Kind, rule.Code), func(t *testing.T) {
				rule.Action = action
				_, err := c.faults().Add(rule)
				require.NoError(t, err)
				p := c.config()
				p.AMIName = "faults"
				result, err := c.publish(t.Context(), disk, p, &lines{t: t})
				t.Log(err)
				c.faults().Remove("")
				// A call that comes only once is past before the second would fail.
				passing := rule.Times > 0 || rule.Kind == fault.Delay || rule.Nth > 1 && result != nil
				if !passing {
					require.Error(t, err)
					require.NotContains(t, err.Error(), "left behind")
					require.Empty(t, c.left())
					return
				}
				require.NoError(t, err)
				require.Len(t, c.left(), 2)
				c.requireSame(disk, here, result.Images[here].SnapshotIDs[0])
				require.NoError(t, result.Destroy(t.Context(), c.factory()))
				require.Empty(t, c.left())
			})
		}
	}
}

// whenMoving calls do once, when a part of the blocks is stored.
func (c *cloud) whenMoving(do func()) {
	faults := c.faults()
	go func() {
		for c.t.Context().Err() == nil {
			if faults.Calls()["ebs:PutSnapshotBlock"] > 20 {
				do()
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
}

// slowBlocks makes an upload last long enough to be interrupted.
func (c *cloud) slowBlocks() {
	_, err := c.faults().Add(fault.Rule{Action: "PutSnapshotBlock", Kind: fault.Delay, DelayMS: 50})
	require.NoError(c.t, err)
}

func TestLocalCancelDuringUpload(t *testing.T) {
	c := startCloud(t)
	c.slowBlocks()
	disk := sparseDisk(t, 1<<30, 800)
	ctx, cancel := context.WithCancel(t.Context())
	c.whenMoving(cancel)
	p := c.config()
	p.Regions = []string{there}
	_, err := c.publish(ctx, disk, p, &lines{t: t})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "left behind")
	require.Empty(t, c.left())
}

func TestLocalKilledDuringUpload(t *testing.T) {
	for name, tc := range map[string]struct {
		restart bool // while the undo is being tried
	}{"comes back in time": {true}, "does not come back": {false}} {
		t.Run(name, func(t *testing.T) {
			c := startCloud(t)
			c.slowBlocks()
			disk := sparseDisk(t, 1<<30, 800)
			p := c.config()
			p.UploadTimeout, p.UndoTimeout = 4*time.Second, 8*time.Second
			killed := make(chan time.Time, 1)
			c.whenMoving(func() { c.kill(); killed <- time.Now() })
			ui := &lines{t: t}
			ui.hook = func(line string) {
				if tc.restart && strings.HasPrefix(line, "removing what was made") {
					time.AfterFunc(2*time.Second, c.start)
				}
			}
			_, err := c.publish(t.Context(), disk, p, ui)
			t.Log(err)
			require.Less(t, time.Since(<-killed), p.UploadTimeout+p.UndoTimeout+4*time.Second)
			var stalled *upload.StalledError
			require.ErrorAs(t, err, &stalled)
			require.ErrorContains(t, err, "upload_timeout")
			var left *ledger.LeftoverError
			if tc.restart {
				require.NotErrorAs(t, err, &left)
				require.Empty(t, c.left())
				return
			}
			require.ErrorAs(t, err, &left)
			c.start()
			require.Len(t, c.left(), 1)
			for _, d := range left.Debts {
				runRemedy(t, d.Remedy)
			}
			require.Empty(t, c.left(), "the command given removes it")
		})
	}
}

// runRemedy runs the command from an error text with the real AWS CLI.
func runRemedy(t *testing.T, command string) {
	t.Helper()
	cli := "/usr/bin/aws"
	if _, err := os.Stat(cli); err != nil {
		t.Skip("the AWS command line is not installed (apt install awscli)")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", cli+strings.TrimPrefix(command, "aws"))
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIATEST", "AWS_SECRET_ACCESS_KEY=hush-hush")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
}

func TestLocalWrongCredentials(t *testing.T) {
	c := startCloud(t)
	p := c.config()
	p.SecretKey = "a-wrong-secret"
	_, err := c.publish(t.Context(), sparseDisk(t, 1<<30, 3), p, &lines{t: t})
	require.Equal(t, awsx.Denied, awsx.Class(err))
	require.ErrorContains(t, err, "secret_key")
	require.NotContains(t, err.Error(), "a-wrong-secret")
	require.Empty(t, c.left())
}

func TestLocalUnreachable(t *testing.T) {
	c := startCloud(t)
	c.kill()
	start := time.Now()
	_, err := c.publish(t.Context(), sparseDisk(t, 1<<30, 3), c.config(), &lines{t: t})
	require.Less(t, time.Since(start), 10*time.Second)
	require.ErrorContains(t, err, c.cfg.Listen)
	require.ErrorContains(t, err, "endpoint_url")
}

// A server that accepts and never answers is the worst kind of unreachable.
func TestLocalSilentEndpoint(t *testing.T) {
	c := startCloud(t)
	disk := sparseDisk(t, 1<<30, 100)
	p := c.config()
	p.UploadTimeout, p.UploadAttemptTimeout, p.UndoTimeout = 3*time.Second, time.Second, 3*time.Second
	c.whenMoving(func() {
		c.kill()
		l, err := net.Listen("tcp", c.cfg.Listen)
		if err == nil {
			c.t.Cleanup(func() { _ = l.Close() })
		}
	})
	c.slowBlocks()
	start := time.Now()
	_, err := c.publish(t.Context(), disk, p, &lines{t: t})
	require.ErrorContains(t, err, "upload_timeout")
	require.ErrorContains(t, err, "left behind")
	require.Less(t, time.Since(start), 20*time.Second)
}
