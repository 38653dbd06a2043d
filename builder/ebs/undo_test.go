// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

func testMachine(s *site, c *cloud, groups []string, profile string) machine {
	return machine{
		image: "ami-1", types: []string{"t3.small", "t3a.small"}, place: place{vpc: "vpc-1", subnets: c.subnets}, groups: groups, keyName: "k", profile: profile,
		userData: []byte("#!/bin/sh\n"), token: s.name(), devices: []publish.BlockDevice{{DeviceName: "/dev/xvda", VolumeSize: 9, VolumeType: "gp3"}},
		instance: s.tagged(types.ResourceTypeInstance, nil), volume: s.tagged(types.ResourceTypeVolume, nil), iface: s.tagged(types.ResourceTypeNetworkInterface, nil),
	}
}

// stories are the things that a build makes before it has an image.
func stories() map[string]func(context.Context, *site, *cloud) error {
	launch := func(start func(*site) func(context.Context, control, machine) (string, error)) func(context.Context, *site, *cloud) error {
		return func(ctx context.Context, s *site, c *cloud) error {
			group, err := s.makeGroup(ctx, c, "vpc-1", 22, []string{"192.0.2.1/32", "2001:db8::1/128"})
			if err != nil {
				return err
			}
			profile, err := s.makeProfile(ctx, c, "{}")
			if err != nil {
				return err
			}
			m := testMachine(s, c, []string{group}, profile)
			if err := s.awaitProfile(ctx, c, m); err != nil {
				return err
			}
			id, err := start(s)(ctx, c, m)
			if err != nil {
				return err
			}
			if _, err = s.await(ctx, c, id, types.InstanceStateNameRunning); err != nil {
				return err
			}
			return s.stop(ctx, c, id)
		}
	}
	return map[string]func(context.Context, *site, *cloud) error{
		"key": func(ctx context.Context, s *site, c *cloud) error {
			_, err := s.importKey(ctx, c, s.name(), []byte("ssh-ed25519 AAAA"))
			return err
		},
		"on demand": launch(func(s *site) func(context.Context, control, machine) (string, error) { return s.launch }),
		"spot":      launch(func(s *site) func(context.Context, control, machine) (string, error) { return s.launchSpot }),
	}
}

// Every call fails in turn, in every way, and nothing is left.
func TestNothingIsLeft(t *testing.T) {
	for name, story := range stories() {
		c, s := newCloud(), newSite(t)
		c.shutting = 3
		require.NoError(t, story(context.Background(), s, c), name)
		require.NotEmpty(t, c.left(), name)
		calls := append([]string(nil), c.calls...)
		require.NoError(t, s.owed.Settle(context.Background(), 5*time.Minute), name)
		require.Empty(t, c.left(), name)
		for n := 1; n <= len(calls); n++ {
			for _, way := range []string{"refused", "not carried out", "reply lost", "cancelled before", "cancelled after"} {
				t.Run(fmt.Sprintf("%s/%d %s/%s", name, n, calls[n-1], way), func(t *testing.T) { failOnce(t, story, n, way) })
			}
		}
	}
}

func failOnce(t *testing.T, story func(context.Context, *site, *cloud) error, nth int, way string) {
	c, s := newCloud(), newSite(t)
	c.shutting = 3
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := false
	c.hook = func(_ string, n int) (error, bool) {
		if n != nth || failed {
			return nil, false
		}
		failed = true
		switch way {
		case "refused":
			return apiError("UnauthorizedOperation"), false
		case "not carried out":
			return errLost, false
		case "reply lost":
			return errLost, true
		case "cancelled before":
			cancel()
			return context.Canceled, false
		default:
			cancel()
			return context.Canceled, true
		}
	}
	err := story(ctx, s, c)
	require.True(t, failed)
	if way != "reply lost" || c.calls[nth-1] != "AddRoleToInstanceProfile" { // which is looked after
		require.Error(t, err, "no failure passes for a success")
	}
	require.NoError(t, s.owed.Settle(ctx, 5*time.Minute))
	require.Empty(t, c.left())
	require.Empty(t, s.owed.Open())
}

// What cannot be removed is listed with the command that removes it, and
// everything else is gone.
func TestLeftoversAreListed(t *testing.T) {
	for name, tc := range map[string]struct {
		deny string
		want []string
	}{
		"instance": {"TerminateInstances", []string{"instance i-", "aws ec2 terminate-instances --instance-ids i-", "security group sg-", "volumes of the build machine", "Values=b1"}},
		"group":    {"DeleteSecurityGroup", []string{"security group sg-", "aws ec2 delete-security-group --group-id sg-"}},
		"role":     {"DeleteRole", []string{"role rightimage-b1", "aws iam delete-role-policy", "aws iam delete-role --role-name rightimage-b1"}},
		"profile":  {"DeleteInstanceProfile", []string{"instance profile rightimage-b1", "delete-instance-profile"}},
		"volume":   {"DeleteVolume", []string{"volumes of the build machine", "volume vol-i-", "describe-volumes"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, s := newCloud(), newSite(t)
			require.NoError(t, stories()["on demand"](context.Background(), s, c))
			c.hook = func(name string, _ int) (error, bool) {
				if name == tc.deny {
					return apiError("UnauthorizedOperation"), false
				}
				return nil, false
			}
			err := s.owed.Settle(context.Background(), 2*time.Minute)
			require.Error(t, err)
			for _, text := range tc.want {
				require.ErrorContains(t, err, text)
			}
			require.NotEmpty(t, c.left())
		})
	}
}

// An earlier try of the same call whose reply was lost is recognised.
func TestRepeatedCreateCalls(t *testing.T) {
	ctx := context.Background()
	c, s := newCloud(), newSite(t)
	for range 2 {
		name, err := s.importKey(ctx, c, s.name(), []byte("ssh-ed25519 AAAA"))
		require.NoError(t, err)
		require.Equal(t, "rightimage-b1", name)
		_, err = s.makeGroup(ctx, c, "vpc-1", 22, []string{"192.0.2.1/32"})
		require.NoError(t, err)
		_, err = s.makeProfile(ctx, c, "{}")
		require.NoError(t, err)
		_, err = s.launchSpot(ctx, c, testMachine(s, c, nil, ""))
		require.NoError(t, err)
		_, err = s.launch(ctx, c, testMachine(s, c, nil, ""))
		require.NoError(t, err)
	}
	require.Len(t, c.machines, 2)
	require.NoError(t, s.owed.Settle(ctx, 5*time.Minute))
	require.Empty(t, c.left())

	c.keys["taken"] = nil
	_, err := s.importKey(ctx, c, "taken", []byte("ssh-ed25519 AAAA"))
	require.ErrorContains(t, err, `temporary_key_pair_name: "taken" is taken`)
	require.NoError(t, s.owed.Settle(ctx, time.Minute))
	require.Contains(t, c.keys, "taken", "somebody else's key stays")
}

func TestImageOfALostReply(t *testing.T) {
	ctx := context.Background()
	c, s := newCloud(), newSite(t)
	in := publish.NewImage{Region: "us-east-1", Name: "a name", PublishID: "p1", ImageTags: []types.Tag{{Key: aws.String("rightimage:publish-id"), Value: aws.String("p1")}}}
	id, err := s.createImage(ctx, c, "i-1", in, nil)
	require.NoError(t, err)
	again, err := s.createImage(ctx, c, "i-1", in, nil)
	require.NoError(t, err)
	require.Equal(t, id, again)
	in.PublishID = "p2"
	_, err = s.createImage(ctx, c, "i-1", in, nil)
	require.ErrorContains(t, err, "InvalidAMIName.Duplicate")
}

func TestMachineThatWillNeverRun(t *testing.T) {
	c, s := newCloud(), newSite(t)
	c.machines["i-1"] = &types.Instance{InstanceId: aws.String("i-1"), State: &types.InstanceState{Name: types.InstanceStateNameTerminated},
		StateReason: &types.StateReason{Message: aws.String("Client.VolumeLimitExceeded")}}
	_, err := s.await(context.Background(), c, "i-1", types.InstanceStateNameRunning)
	require.EqualError(t, err, "instance i-1 is terminated: Client.VolumeLimitExceeded")
	_, err = s.address(context.Background(), c, "i-1", publicIP, 22)
	var gone *goneError
	require.ErrorAs(t, err, &gone)
}

func TestWhereThereIsRoom(t *testing.T) {
	c, s := newCloud(), newSite(t)
	c.hook = func(name string, n int) (error, bool) {
		if name == "RunInstances" && n == 1 {
			return apiError(noRoom), false
		}
		return nil, false
	}
	_, err := s.launch(context.Background(), c, testMachine(s, c, nil, ""))
	require.NoError(t, err)
	require.Equal(t, "subnet-b", aws.ToString(c.in["RunInstances"].(*ec2.RunInstancesInput).SubnetId))
}
