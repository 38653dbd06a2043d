// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

var someBlocks = map[int64]byte{0: 1, 3: 2, 4: 3, 1000: 4}

const someSize = 700 << 20

func nothingLeft(t *testing.T, f *fake) {
	t.Helper()
	require.Empty(t, f.snaps, "snapshots left behind")
	require.Empty(t, f.images, "images left behind")
}

func TestPublish(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.states = []types.ImageState{types.ImageStatePending, types.ImageStateAvailable}
		p := publisherOf(t, Config{
			AMIDescription: "what it is", BootMode: "uefi",
			Tags: map[string]string{"a": "1", "b": "2"}, SnapshotTags: map[string]string{"b": "3"},
			Facts: Facts{Provenance: map[string]string{"source": "x"}},
		}, f)
		result, err := p.Disk(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, "eu-west-1:ami-1", result.ID())
		require.Equal(t, []string{"snap-1"}, result.Images["eu-west-1"].SnapshotIDs)
		require.Len(t, f.blocks, len(someBlocks))
		var sums sparse.Linear
		for index, value := range someBlocks {
			require.Equal(t, value, f.blocks[int32(index)][7])
			sums.Add(index, sparse.Checksum(f.blocks[int32(index)]))
		}
		require.Equal(t, sums.Aggregate().Base64(), *f.sealed.Checksum)
		require.Equal(t, sums.Aggregate().Base64(), result.Images["eu-west-1"].Checksum)
		require.EqualValues(t, len(someBlocks), *f.sealed.ChangedBlocksCount)

		require.Equal(t, "what it is", *f.reg.Description)
		require.Equal(t, types.BootModeValuesUefi, f.reg.BootMode)
		require.Equal(t, types.ImdsSupportValuesV20, f.reg.ImdsSupport)
		require.True(t, *f.reg.EnaSupport)
		require.Equal(t, "/dev/xvda", *f.reg.RootDeviceName)
		require.Equal(t, types.VolumeTypeGp3, f.reg.BlockDeviceMappings[0].Ebs.VolumeType)
		tags := map[string]string{}
		for _, tag := range f.reg.TagSpecifications[0].Tags {
			tags[*tag.Key] = aws.ToString(tag.Value)
		}
		require.Equal(t, "2", tags["b"])
		require.Equal(t, "x", tags["rightimage:source"])
		require.Contains(t, tags, "rightimage:version")
	})
}

// Every call fails in turn, for good, and each time nothing is left.
func TestPublishFailsAtEachCall(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	for _, action := range []string{"DescribeImages", "StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "DescribeSnapshots", "RegisterImage"} {
		for _, code := range []string{"UnauthorizedOperation", "InvalidParameterValue", "ServiceQuotaExceededException"} {
			t.Run(action+"/"+code, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.fail = func(a string, _ int) error {
						if a == action {
							return apiError(code)
						}
						return nil
					}
					start := time.Now()
					_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
					require.ErrorContains(t, err, code)
					require.NotContains(t, err.Error(), "left behind")
					require.Less(t, time.Since(start), 10*time.Second, "fails fast")
					nothingLeft(t, f)
				})
			})
		}
	}
	t.Run("DescribeImages while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.fail = func(a string, n int) error {
				if a == "DescribeImages" && n > 0 {
					return apiError("UnauthorizedOperation")
				}
				return nil
			}
			_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
			require.ErrorContains(t, err, "describe image ami-1")
			nothingLeft(t, f)
		})
	})
}

// The reply of each call is lost once: either it is made good, or nothing is left.
func TestPublishLosesEachReply(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	for _, action := range []string{"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"} {
		t.Run(action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.lost = func(a string, n int) bool { return a == action && n == 0 }
				_, err := publisherOf(t, Config{}, f).Disk(t.Context(), path)
				if action == "RegisterImage" { // the fake has no retrying SDK in front
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
					nothingLeft(t, f)
					return
				}
				require.NoError(t, err)
				require.Len(t, f.snaps, 1)
			})
		})
	}
}

// A RegisterImage that the SDK repeated after a lost reply answers "duplicate".
func TestRegisterAdoptsItsOwnImage(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := publisherOf(t, Config{}, f)
		f.fail = func(a string, _ int) error {
			if a == "RegisterImage" {
				f.images["ami-7"] = imageOn("ami-7", "test image", "snap-1", p.publishID)
				return apiError("InvalidAMIName.Duplicate")
			}
			return nil
		}
		result, err := p.Disk(t.Context(), path)
		require.NoError(t, err)
		require.Equal(t, "ami-7", result.Images["eu-west-1"].ImageID)
	})
}

func TestPublishIsCancelledAtEachCall(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	for _, action := range []string{"StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "DescribeSnapshots", "RegisterImage", "DescribeImages"} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s lost=%v", action, lost), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					f := newFake()
					f.lost = func(a string, n int) bool {
						if a != action || a == "DescribeImages" && n == 0 {
							return false
						}
						cancel()
						return lost
					}
					_, err := publisherOf(t, Config{}, f).Disk(ctx, path)
					require.ErrorIs(t, err, context.Canceled)
					require.NotContains(t, err.Error(), "left behind")
					nothingLeft(t, f)
				})
			})
		}
	}
}

func TestNothingIsMadeWhenANameIsTakenAnywhere(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	good, taken, denied := newFake(), newFake(), newFake()
	taken.images["ami-9"] = imageOn("ami-9", "test image", "snap-9", "")
	denied.fail = func(string, int) error { return apiError("UnauthorizedOperation") }
	_, err := publisherOf(t, Config{}, good, taken, denied).Disk(t.Context(), path)
	require.ErrorContains(t, err, `ami_name: "test image" is taken in eu-west-2 by ami-9`)
	require.ErrorContains(t, err, "aws ec2 deregister-image --region eu-west-2 --image-id ami-9")
	require.ErrorContains(t, err, "UnauthorizedOperation", "all regions are reported")
	require.Zero(t, good.count("StartSnapshot"))
}

func TestOneRegionFailsAndAllAreUndone(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	synctest.Test(t, func(t *testing.T) {
		good, bad := newFake(), newFake()
		bad.slow = time.Second
		bad.fail = func(a string, _ int) error {
			if a == "RegisterImage" {
				return apiError("UnauthorizedOperation")
			}
			return nil
		}
		_, err := publisherOf(t, Config{RegionStrategy: "upload"}, good, bad).Disk(t.Context(), path)
		require.ErrorContains(t, err, "register image in eu-west-2")
		require.Equal(t, 1, good.count("RegisterImage"), "the good region was finished")
		nothingLeft(t, good)
		nothingLeft(t, bad)
	})
}

func TestWhatCannotBeUndoneIsListed(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.states = []types.ImageState{types.ImageStateFailed}
		f.fail = func(a string, _ int) error {
			if a == "DeregisterImage" || a == "DeleteSnapshot" {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		p := publisherOf(t, Config{UndoTimeout: time.Minute}, f)
		p.regions[0].flags = []string{"--endpoint-url", "http://127.0.0.1:4566"}
		start := time.Now()
		_, err := p.Disk(t.Context(), path)
		require.Less(t, time.Since(start), 90*time.Second)
		var left *ledger.LeftoverError
		require.ErrorAs(t, err, &left)
		require.ErrorContains(t, err, "image ami-1 in eu-west-1 is failed")
		require.ErrorContains(t, err, "aws ec2 deregister-image --region eu-west-1 --image-id ami-1 --endpoint-url http://127.0.0.1:4566")
		require.ErrorContains(t, err, "aws ec2 delete-snapshot --region eu-west-1 --snapshot-id snap-1 --endpoint-url http://127.0.0.1:4566")
	})
}

func TestPublishRefusesDisks(t *testing.T) {
	f := newFake()
	_, err := publisherOf(t, Config{}, f).Disk(t.Context(), diskOf(t, 1<<20, nil))
	require.ErrorContains(t, err, "holds no data")
	_, err = publisherOf(t, Config{VolumeSize: 1}, f).Disk(t.Context(), diskOf(t, 2<<30, someBlocks))
	require.ErrorContains(t, err, "volume_size")
	require.Zero(t, f.count("StartSnapshot"))
}

func TestWaitsAreBounded(t *testing.T) {
	path := diskOf(t, someSize, someBlocks)
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		for range 10000 {
			f.states = append(f.states, types.ImageStatePending)
		}
		start := time.Now()
		_, err := publisherOf(t, Config{Polling: PollingConfig{DelaySeconds: 3, MaxAttempts: 10}}, f).Disk(t.Context(), path)
		require.ErrorContains(t, err, "aws_polling")
		require.InDelta(t, 27, time.Since(start).Seconds(), 2)
		nothingLeft(t, f)
	})
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"snap-1": "snap-1", "": "''", "it's": `'it'\''s'`, "a b": "'a b'", "$(x)": "'$(x)'",
		"http://127.0.0.1:4566": "http://127.0.0.1:4566",
	} {
		require.Equal(t, want, awsx.Line([]string{word}))
	}
}

func TestGone(t *testing.T) {
	r := &region{notYet: time.Minute}
	require.NoError(t, r.gone(nil, time.Now()))
	require.NoError(t, r.gone(apiError("InvalidAMIID.Unavailable"), time.Now()))
	require.NoError(t, r.gone(apiError("InvalidSnapshot.NotFound"), time.Now().Add(-2*time.Minute)))
	require.Error(t, r.gone(apiError("InvalidSnapshot.NotFound"), time.Now()), "it may only be too new")
	require.Error(t, r.gone(errors.New("x"), time.Time{}))
}
