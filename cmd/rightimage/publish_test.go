// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	blocks "github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/builder/sweep"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

// desk is a directory with disks, the command, and a local cloud.
type desk struct {
	*local.Server
	t        *testing.T
	bin, dir string
	factory  *awsx.Factory
}

const mib = 1 << 20

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, bin: binary(t), dir: t.TempDir()}
	s, err := local.New(local.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Settle: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	d.Server = s
	d.factory, err = awsx.New(t.Context(), awsx.Config{Region: "eu-west-1", AccessKey: "a", SecretKey: "b", EndpointURL: s.Info().Endpoint})
	require.NoError(t, err)
	return d
}

// disk writes a disk of 64 MiB with so many full MiB at its start.
func (d *desk) disk(name string, full int) string {
	d.t.Helper()
	data := make([]byte, full*mib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	path := filepath.Join(d.dir, name)
	require.NoError(d.t, os.WriteFile(path, data, 0o600))
	require.NoError(d.t, os.Truncate(path, 64*mib))
	return path
}

func (d *desk) command(args ...string) (cmd *exec.Cmd, stdout, stderr *output) {
	cmd = exec.Command(d.bin, args...)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+d.Info().Endpoint, "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_POLL_DELAY_SECONDS=1")
	stdout, stderr = &output{}, &output{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// do runs the command and returns what it printed and its exit code.
func (d *desk) do(args ...string) (stdout, stderr string, code int) {
	d.t.Helper()
	cmd, out, errOut := d.command(args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(d.t, err, &exit)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// there lists the account's images and snapshots in a region.
func (d *desk) there(region string) (images, snapshots []string) {
	d.t.Helper()
	i, err := d.factory.EC2(region).DescribeImages(d.t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(d.t, err)
	for _, image := range i.Images {
		images = append(images, aws.ToString(image.Name))
	}
	s, err := d.factory.EC2(region).DescribeSnapshots(d.t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	require.NoError(d.t, err)
	for _, snapshot := range s.Snapshots {
		snapshots = append(snapshots, *snapshot.SnapshotId)
	}
	return images, snapshots
}

func (d *desk) fault(r fault.Rule) {
	d.t.Helper()
	_, err := d.Faults().Add(r)
	require.NoError(d.t, err)
}

// begin starts an upload that takes its time, and waits until blocks went.
func (d *desk) begin(disk, name string) (cmd *exec.Cmd, stderr *output) {
	d.t.Helper()
	d.fault(fault.Rule{Action: "PutSnapshotBlock", Kind: fault.Delay, DelayMS: 300})
	before := d.Faults().Calls()["ebs:PutSnapshotBlock"]
	cmd, _, stderr = d.command("publish", disk, "--region", "eu-west-1", "--ami-name", name)
	require.NoError(d.t, cmd.Start())
	require.Eventually(d.t, func() bool { return d.Faults().Calls()["ebs:PutSnapshotBlock"] > before+20 }, time.Minute, 10*time.Millisecond)
	return cmd, stderr
}

func TestPublishAndSweepCommands(t *testing.T) {
	d := newDesk(t)
	raw := d.disk("disk.raw", 32)
	t.Run("wrong flags", func(t *testing.T) {
		for _, args := range [][]string{{"publish"}, {"publish", raw, "--nope"}, {"publish", raw, "--ami-name", "x"}, {"publish", raw, "--region", "Mars", "--ami-name", "abc"}, {"sweep", "all"}} {
			_, _, code := d.do(args...)
			require.Equal(t, 2, code, args)
		}
	})
	t.Run("no disk", func(t *testing.T) {
		_, stderr, code := d.do("publish", filepath.Join(d.dir, "nope"), "--region", "eu-west-1", "--ami-name", "abc")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "no such file")
	})
	t.Run("dry run", func(t *testing.T) {
		_, stderr, code := d.do("publish", raw, "--region", "eu-west-1", "--ami-name", "first", "--dry-run")
		require.Equal(t, 0, code, stderr)
		images, snapshots := d.there("eu-west-1")
		require.Empty(t, append(images, snapshots...))
	})
	t.Run("two regions", func(t *testing.T) {
		stdout, stderr, code := d.do("publish", raw, "--region", "eu-west-1", "--region", "us-east-1", "--ami-name", "first", "--json")
		require.Equal(t, 0, code, stderr)
		var result publish.Result
		require.NoError(t, json.Unmarshal([]byte(stdout), &result), stdout)
		require.Len(t, result.Images, 2)
		require.NotContains(t, stderr, "\x1b", "no terminal, no line that changes")
		_, stderr, code = d.do("publish", raw, "--region", "us-east-1", "--ami-name", "first", "--dry-run")
		require.Equal(t, 1, code)
		require.Contains(t, stderr, "is taken in us-east-1")
	})
	t.Run("qcow2", func(t *testing.T) { d.qcow2(t, raw) })
	t.Run("failure", func(t *testing.T) {
		_, before := d.there("eu-west-1")
		d.fault(fault.Rule{Action: "RegisterImage", Kind: fault.Deny})
		_, stderr, code := d.do("publish", raw, "--region", "eu-west-1", "--ami-name", "second")
		require.Equal(t, 1, code, stderr)
		_, after := d.there("eu-west-1")
		require.Equal(t, before, after)
		d.fault(fault.Rule{Action: "DeleteSnapshot", Kind: fault.Deny})
		_, stderr, code = d.do("publish", raw, "--region", "eu-west-1", "--ami-name", "second", "--undo-timeout", "2s")
		require.Equal(t, 3, code)
		require.Contains(t, stderr, "aws ec2 delete-snapshot")
		d.Faults().Remove("")
	})
	t.Run("sweep", func(t *testing.T) { d.sweep(t) })
	t.Run("kill and again", func(t *testing.T) { d.killed(t, d.disk("killed.raw", 48)) })
	t.Run("interrupt", func(t *testing.T) {
		images, snapshots := d.there("eu-west-1")
		cmd, stderr := d.begin(d.disk("stopped.raw", 64), "stopped")
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		require.Error(t, cmd.Wait())
		require.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), stderr)
		d.Faults().Remove("")
		left, leftSnapshots := d.there("eu-west-1")
		require.Equal(t, images, left)
		require.Equal(t, snapshots, leftSnapshots)
		require.NoFileExists(t, filepath.Join(d.dir, "stopped.raw.eu-west-1.journal"))
	})
}

func (d *desk) qcow2(t *testing.T, raw string) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is missing (Debian: qemu-utils)")
	}
	path := filepath.Join(d.dir, "disk.qcow2")
	require.NoError(t, exec.Command("qemu-img", "convert", "-O", "qcow2", raw, path).Run())
	// What a killed run left of its copy goes.
	old := filepath.Join(d.dir, ".rightimage-publish-1")
	require.NoError(t, os.Mkdir(old, 0o700))
	_, stderr, code := d.do("publish", path, "--region", "us-east-1", "--ami-name", "converted")
	require.Equal(t, 0, code, stderr)
	hidden, err := filepath.Glob(filepath.Join(d.dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, hidden)
	require.FileExists(t, path+".blocks", "the next upload builds on this one")
}

func (d *desk) sweep(t *testing.T) {
	args := []string{"sweep", "--region", "eu-west-1,us-east-1"}
	stdout, stderr, code := d.do(args...)
	require.Equal(t, 0, code, stderr)
	require.Contains(t, stdout, "0 leftovers; 1 younger than 24h0m0s passed over")
	args = append(args, "--older-than", "0s")
	stdout, _, code = d.do(args...)
	require.Equal(t, 3, code)
	require.Regexp(t, `(?m)^snapshot +snap-\S+ +eu-west-1 +\S+ +no image uses it +delete$`, stdout)
	d.fault(fault.Rule{Action: "DeleteSnapshot", Kind: fault.Deny})
	stdout, _, code = d.do(append(args, "--delete")...)
	require.Equal(t, 3, code)
	require.Contains(t, stdout, "by hand: aws ec2 delete-snapshot")
	d.Faults().Remove("")
	d.fault(fault.Rule{Action: "DescribeVolumes", Region: "us-east-1", Kind: fault.Deny})
	_, stderr, code = d.do(args...)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "look for volumes in us-east-1")
	d.Faults().Remove("")
	stdout, stderr, code = d.do(append(args, "--delete", "--json")...)
	require.Equal(t, 0, code, stderr)
	var report sweep.Report
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	require.Len(t, report.Leftovers, 1)
	require.True(t, report.Leftovers[0].Removed)
	images, _ := d.there("us-east-1")
	require.ElementsMatch(t, []string{"first", "converted"}, images)
}

// killed kills an upload and runs the same command again.
func (d *desk) killed(t *testing.T, disk string) {
	before := d.Faults().Calls()["ebs:PutSnapshotBlock"]
	cmd, _ := d.begin(disk, "killed")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	d.Faults().Remove("")
	_, stderr, code := d.do("publish", disk, "--region", "eu-west-1", "--ami-name", "killed")
	require.Equal(t, 0, code, stderr)
	require.Contains(t, stderr, "going on with snap-")
	sent := d.Faults().Calls()["ebs:PutSnapshotBlock"] - before
	require.LessOrEqual(t, sent, 48*2+blocks.DefaultConcurrency, "at most what was in flight is sent twice")
	require.NoFileExists(t, disk+".eu-west-1.journal")
}

func TestProgressLine(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	require.False(t, p.Live(), "a buffer is no terminal")
	p.width = func() int { return 40 }
	p.Progress("eu-west-1", blocks.Progress{Done: 50 * mib, Total: 100 * mib, Rate: 10 * mib})
	require.Regexp(t, `^\r\x1b\[Keu-west-1: 50\.0 MiB of 100\.0 MiB`, b.String())
	require.LessOrEqual(t, len([]rune(strings.TrimPrefix(b.String(), "\r\x1b[K"))), 39)
	b.Reset()
	p.Progress("us-east-1", blocks.Progress{Done: 1 * mib, Total: 100 * mib, Rate: 10 * mib})
	require.Equal(t, "\r\x1b[Keu-west-1 50% 10.0 MiB/s  us-east-1 1%…", b.String())
	b.Reset()
	p.Say("us-east-1: note")
	require.Equal(t, "\r\x1b[Kus-east-1: note\n", b.String())
	b.Reset()
	p.Progress("us-east-1", blocks.Progress{Done: 100 * mib, Total: 100 * mib})
	require.Contains(t, b.String(), "of 100.0 MiB uploaded, done in")
	require.True(t, strings.HasSuffix(b.String(), "\n"))
	b.Reset()
	p.Close()
	require.Empty(t, b.String())
}

func TestExitCodes(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{t.Context(), nil, 0},
		{t.Context(), errors.New("x"), exitFailed},
		{t.Context(), usageError{errors.New("x")}, exitUsage},
		{t.Context(), errLeft, exitLeft},
		{ended, errors.New("x"), exitInterrupted},
		{ended, errLeft, exitLeft},
	} {
		require.Equal(t, tc.want, exitCode(tc.ctx, tc.err))
	}
}
