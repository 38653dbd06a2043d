// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// How many first boots are cut. The long run goes on where it was: what a build
// of the agents has passed is noted in the cache.
const (
	fewCuts  = 3
	manyCuts = 30
	// The plug is pulled between the time that the kernel takes to start and a
	// little after a boot beside others is operational.
	cutFrom, cutTo = 10 * time.Second, 110 * time.Second
)

// TestPowerCuts pulls the plug of machines at random moments of their first
// boot and boots them again: each becomes operational, with one identity, runs
// no script twice in a boot, and has no torn file.
func TestPowerCuts(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	_, err := s.Platform.Admin(testContext(t), "server-template", "upload", filepath.Join(s.Repo, "test", "e2e", "testdata", "cut", "cut.yml"))
	require.NoError(t, err)
	want, passed := fewCuts, 0
	note := filepath.Join(s.Cache, "power-cuts-"+agentsOf(t, s)+".log")
	if os.Getenv("RIGHTIMAGE_E2E") == "full" {
		want, passed = manyCuts, linesOf(note)
	}
	for n := passed; n < want; n++ {
		t.Run(strconv.Itoa(n+1), func(t *testing.T) {
			t.Parallel()
			after := cut(t, s, fmt.Sprintf("cut-%d", n+1))
			noteDown(t, note, fmt.Sprintf("plug pulled %s after the launch", after.Round(time.Millisecond)))
		})
	}
}

// cut is the life of one machine.
func cut(t *testing.T, s *chain.Story, name string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 15*time.Minute)
	defer cancel()
	id := launchCut(ctx, t, s, name)
	after := cutFrom + time.Duration(rand.Int64N(int64(cutTo-cutFrom)))
	time.Sleep(after)
	before, err := s.Platform.Server(ctx, name)
	require.NoError(t, err)
	turnOff(ctx, t, s, id, true)
	s.Say("%s: plug pulled %s after the launch; the platform saw it %s", name, after.Round(time.Millisecond), before.State)

	boots := strings.Count(auditText(ctx, t, s, name), "once in this boot")
	_, err = s.Cloud.EC2.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	require.NoError(t, chain.Until(ctx, 2*time.Second, name+" is operational after the cut", func(ctx context.Context) (bool, error) {
		sv, err := s.Platform.Server(ctx, name)
		if err != nil || sv.State == "stranded" {
			return false, fmt.Errorf("%s is %s after the cut: %w", name, sv.State, err)
		}
		return sv.State == "operational" && strings.Count(auditText(ctx, t, s, name), "once in this boot") > boots, nil
	}))
	audit := auditText(ctx, t, s, name)
	requireText(t, s, name, audit, "package install ok installed")
	require.NotContains(t, audit, "ran twice")
	require.Equal(t, 1, instancesOf(ctx, t, s, id), "one identity before and after the cut")
	if before.Instance != nil {
		require.Equal(t, before.Instance.Href, serverOf(ctx, t, s, name).Instance.Href)
	}

	turnOff(ctx, t, s, id, false)
	wholeFiles(ctx, t, s, id)
	require.NoError(t, s.Cloud.Terminate(ctx, id))
	return after
}

func launchCut(ctx context.Context, t *testing.T, s *chain.Story, name string) string {
	t.Helper()
	_, err := s.Platform.Admin(ctx, "server", "create", name, "--server-template", "Power cut test")
	require.NoError(t, err)
	require.NoError(t, s.LaunchServer(ctx, chain.Role{Name: name, UserData: "mime"}))
	id := s.InstanceOf(name)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, name) })
	return id
}

// turnOff stops a machine: pulls its plug, or lets it shut down.
func turnOff(ctx context.Context, t *testing.T, s *chain.Story, id string, plug bool) {
	t.Helper()
	_, err := s.Cloud.EC2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}, Force: aws.Bool(plug)})
	require.NoError(t, err)
	require.NoError(t, chain.Until(ctx, 200*time.Millisecond, id+" is off", func(ctx context.Context) (bool, error) {
		state, err := s.Cloud.InstanceState(ctx, id)
		return state == "stopped", err
	}))
}

// wholeFiles reads what bootstrap and agent have written from the disk of a
// machine that is off: every JSON file is one, nothing is empty, and no
// temporary file is left.
func wholeFiles(ctx context.Context, t *testing.T, s *chain.Story, id string) {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	found, err := s.Cloud.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	volume := *found.Reservations[0].Instances[0].BlockDeviceMappings[0].Ebs.VolumeId
	_, err = s.Command(ctx, nil, "qemu-img", "convert", "-O", "raw", filepath.Join(s.Cloud.State, "volumes", volume, "disk.qcow2"), disk)
	require.NoError(t, err)
	parsed := 0
	for _, tree := range []string{"/var/spool/cloud", "/var/lib/rightscale"} {
		_, err = s.Command(ctx, nil, "debugfs", "-R", "rdump "+tree+" "+dir, disk+"?offset="+strconv.Itoa(4096*512))
		require.NoError(t, err)
		require.NoError(t, filepath.WalkDir(filepath.Join(dir, filepath.Base(tree)), func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			require.NotContains(t, filepath.Base(path), ".tmp", "a temporary file is left")
			if ext := filepath.Ext(path); ext == ".json" || ext == ".js" {
				parsed++
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				require.True(t, json.Valid(data), "%s is torn: %q", path, data)
			}
			return nil
		}))
	}
	require.Greater(t, parsed, 3, "spool, status and state were looked at")
}

// agentsOf tells the builds of the agents apart.
func agentsOf(t *testing.T, s *chain.Story) string {
	t.Helper()
	out, err := s.Command(testContext(t), nil, "sha256sum", s.Bin("bootstrap"), s.Bin("rightlink"))
	require.NoError(t, err)
	first, second, _ := strings.Cut(out, "\n")
	return first[:8] + second[:8]
}

func linesOf(file string) (n int) {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		n++
	}
	return n
}

func noteDown(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = fmt.Fprintln(f, text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
