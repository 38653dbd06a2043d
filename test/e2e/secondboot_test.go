// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// What the hooks may cost a second boot, and how many of them are measured:
// RIGHTIMAGE_BOOTS asks for fewer.
const (
	secondBootLimit = 1500 * time.Millisecond
	secondBoots     = 5
)

// TestSecondBoot measures how long a preinstalled, enrolled image takes to
// multi-user.target on later boots, next to the same image without hooks. One
// machine runs at a time, by turns, so that a busy host is fair to both.
func TestSecondBoot(t *testing.T) {
	needFull(t)
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 45*time.Minute)
	defer cancel()
	const server = "second-boot-1"
	_, err := s.Platform.Admin(ctx, "server-template", "upload", filepath.Join(s.Repo, "test", "e2e", "testdata", "cut", "cut.yml"))
	require.NoError(t, err)
	_, err = s.Platform.Admin(ctx, "server", "create", server, "--server-template", "Power cut test")
	require.NoError(t, err)
	images := map[bool]string{}
	for _, hooks := range []bool{true, false} {
		images[hooks] = secondBootImage(ctx, t, s, hooks)
	}

	require.NoError(t, s.LaunchServer(ctx, chain.Role{Name: server, UserData: "query", Image: images[true]}))
	machines := map[bool]string{true: s.InstanceOf(server)}
	require.NoError(t, s.Platform.WaitState(ctx, server, "operational"))
	toTarget(ctx, t, s, machines[true], 1)
	turnOff(ctx, t, s, machines[true], false)
	machines[false], err = s.Cloud.Launch(ctx, "without-hooks", images[false], "")
	require.NoError(t, err)
	toTarget(ctx, t, s, machines[false], 1)
	turnOff(ctx, t, s, machines[false], false)

	rounds := secondBoots
	if n, err := strconv.Atoi(os.Getenv("RIGHTIMAGE_BOOTS")); err == nil && n > 0 {
		rounds = n
	}
	took := map[bool][]time.Duration{}
	for n := range rounds {
		for _, hooks := range []bool{true, false} {
			_, err := s.Cloud.EC2.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{machines[hooks]}})
			require.NoError(t, err)
			took[hooks] = append(took[hooks], toTarget(ctx, t, s, machines[hooks], n+2))
			turnOff(ctx, t, s, machines[hooks], false)
		}
		s.Say("boot %d: %s with hooks, %s without", n+2, took[true][n].Round(time.Millisecond), took[false][n].Round(time.Millisecond))
	}
	with, without := middle(took[true]), middle(took[false])
	t.Logf("to multi-user.target on a later boot, median of %d: %s with hooks, %s without, %s more", rounds,
		with.Round(time.Millisecond), without.Round(time.Millisecond), (with - without).Round(time.Millisecond))
	require.LessOrEqual(t, with-without, secondBootLimit)
	for _, id := range machines {
		require.NoError(t, s.Cloud.Terminate(ctx, id))
	}
}

func secondBootImage(ctx context.Context, t *testing.T, s *chain.Story, hooks bool) string {
	t.Helper()
	name := map[bool]string{true: "with-hooks", false: "without-hooks"}[hooks]
	dir := filepath.Join(s.Repo, "test", "e2e", "testdata", "secondboot")
	catalogue, err := s.Build(ctx, filepath.Join(dir, "secondboot.pkr.hcl"), filepath.Join(s.Work, name), s.Cloud.Env(), map[string]string{
		"base_disk": s.Base, "platform_ca_file": s.Platform.CA, "region": chain.Region, "name": name,
		"unit": filepath.Join(dir, "tell-boot.service"), "without_hooks": strconv.FormatBool(!hooks),
	})
	require.NoError(t, err)
	return catalogue.Images[chain.Region].ImageID
}

var reached = regexp.MustCompile(`multi-user\.target after (\d+) us`)

// toTarget waits until the nth boot of a machine has come to multi-user.target,
// and returns the time that the machine itself has measured.
func toTarget(ctx context.Context, t *testing.T, s *chain.Story, id string, nth int) time.Duration {
	t.Helper()
	var said [][]string
	require.NoError(t, chain.Until(ctx, time.Second, id+" is at multi-user.target", func(context.Context) (bool, error) {
		// The console grows beyond what the cloud's call returns.
		text, err := os.ReadFile(filepath.Join(s.Cloud.State, "instances", id, "console.log"))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil // the machine is being made
		}
		said = reached.FindAllStringSubmatch(string(text), -1)
		return len(said) >= nth, err
	}))
	us, err := strconv.ParseInt(said[nth-1][1], 10, 64)
	require.NoError(t, err)
	return time.Duration(us) * time.Microsecond
}

func middle(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
