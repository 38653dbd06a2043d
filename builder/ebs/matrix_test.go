// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

const (
	home = matrix.Here
	away = matrix.There
)

// seed publishes the source AMI of the builds.
func seed(ctx context.Context, c *matrix.Cloud) error {
	disk := filepath.Join(c.Dir, "disk.raw")
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	if err := os.WriteFile(disk, data, 0o600); err != nil {
		return err
	}
	p := publish.Config{AccessConfig: publish.AccessConfig{Region: home, EndpointURL: c.Endpoint, AccessKey: matrix.AccessKey, SecretKey: matrix.SecretKey}, AMIName: "the source"}
	if errs := p.PrepareDisk(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	factory, err := awsx.New(ctx, p.AWS())
	if err != nil {
		return err
	}
	_, err = publish.Publish(ctx, factory, disk, p, quiet(nil))
	return err
}

// build runs the builder with everything on, but without anything to connect to.
func build(ctx context.Context, c *matrix.Cloud, ui packersdk.Ui, more map[string]any) (packersdk.Artifact, error) {
	options := map[string]any{
		"endpoint_url": c.Endpoint, "access_key": matrix.AccessKey, "secret_key": matrix.SecretKey, "max_retries": 3, "region": home,
		"source_ami":        nil,
		"source_ami_filter": map[string]any{"filters": map[string]any{"name": "the source"}, "owners": []string{"self"}},
		"regions":           []string{away}, "ami_name": "made by a test", "undo_timeout": "20s", "ami_users": []string{"111122223333"},
		"temporary_iam_instance_profile_policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`,
		"launch_block_device_mappings":          []map[string]any{{"device_name": "/dev/sdf", "volume_size": 1, "delete_on_termination": false}},
	}
	maps.Copy(options, more)
	b, _, err := prepare(options)
	if err != nil {
		return nil, err
	}
	b.config.NotYet = 100 * time.Millisecond
	factory, err := awsx.New(ctx, b.config.AWS())
	if err != nil {
		return nil, err
	}
	f := newFlow(ctx, &b.config, factory, ui)
	f.site.waiter.Delay, f.site.fresh = 20*time.Millisecond, 200*time.Millisecond
	f.connect = connected{}
	return f.run(ctx, ui, hookFunc(func(context.Context, string) error { return nil }))
}

// connected stands in for the connection.
type connected struct{}

func (connected) Run(_ context.Context, state multistep.StateBag) multistep.StepAction {
	state.Put("communicator", packersdk.Communicator(new(packersdk.MockCommunicator)))
	return multistep.ActionContinue
}
func (connected) Cleanup(multistep.StateBag) {}

type hookFunc func(ctx context.Context, name string) error

func (h hookFunc) Run(ctx context.Context, name string, _ packersdk.Ui, _ packersdk.Communicator, _ any) error {
	return h(ctx, name)
}

// quiet is a ui that writes into a buffer, or nowhere.
func quiet(b *lockedBuffer) packersdk.Ui {
	if b == nil {
		b = new(lockedBuffer)
	}
	return &testUI{out: b}
}

// testUI leaves out the SDK's filter of secrets, which many builds of one
// process may not share.
type testUI struct {
	packersdk.BasicUi
	out *lockedBuffer
}

func (u *testUI) Say(text string)                { fmt.Fprintln(u.out, text) }
func (u *testUI) Sayf(format string, a ...any)   { fmt.Fprintf(u.out, format+"\n", a...) }
func (u *testUI) Message(text string)            { fmt.Fprintln(u.out, text) }
func (u *testUI) Error(text string)              { fmt.Fprintln(u.out, text) }
func (u *testUI) Errorf(format string, a ...any) { fmt.Fprintf(u.out, format+"\n", a...) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// made are the things that a build has added to a cloud.
func made(t *testing.T, c *matrix.Cloud, before []matrix.Thing) []matrix.Thing {
	t.Helper()
	after, err := c.Things(t.Context())
	require.NoError(t, err)
	return matrix.Minus(after, before)
}

func TestBuildInTheLocalCloud(t *testing.T) {
	matrix.Quiet(t)
	for name, more := range map[string]map[string]any{
		"on demand": nil,
		"spot":      {"instance_type": nil, "spot_instance_types": []string{"t3.small", "t3a.small"}, "spot_price": "0.05"},
		"no AMI":    {"skip_create_ami": true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := matrix.Start(t)
			require.NoError(t, err)
			require.NoError(t, seed(t.Context(), c))
			before, err := c.Things(t.Context())
			require.NoError(t, err)
			var text lockedBuffer
			a, err := build(t.Context(), c, quiet(&text), more)
			require.NoError(t, err, text.String())
			if name == "no AMI" {
				require.Empty(t, made(t, c, before))
				require.Empty(t, a.Id())
				require.NoError(t, a.Destroy())
				return
			}
			require.NoError(t, complete(t.Context(), c))
			require.Regexp(t, `^eu-west-1:ami-[0-9a-f]+,us-east-1:ami-[0-9a-f]+$`, a.Id())
			require.NoError(t, a.Destroy())
			require.Empty(t, made(t, c, before))
		})
	}
}

// complete looks whether a build has left an image of two snapshots in each
// region, and nothing else beside the source.
func complete(ctx context.Context, c *matrix.Cloud) error {
	things, err := c.Things(ctx)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, t := range things {
		count[t.Region+" "+t.Kind]++
	}
	want := map[string]int{home + " image": 2, home + " snapshot": 3, away + " image": 1, away + " snapshot": 2}
	if !maps.Equal(count, want) {
		return fmt.Errorf("there are %v, not %v", count, want)
	}
	return nil
}

// Every API call of a whole build goes wrong in turn, in every way.
func TestEveryCallFails(t *testing.T) {
	matrix.Test(t, matrix.Run{
		Seed: seed,
		Do: func(ctx context.Context, c *matrix.Cloud) (string, error) {
			var text lockedBuffer
			// How the blocks of snapshots are read is tested where they are.
			_, err := build(ctx, c, quiet(&text), map[string]any{"skip_disk_scan": true})
			return text.String(), err
		},
		Done: complete,
		Removals: []string{
			"ec2:DeregisterImage", "ec2:DeleteSnapshot", "ec2:DeleteVolume", "ec2:TerminateInstances", "ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup",
			"iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile", "iam:DeleteRolePolicy", "iam:DeleteRole",
		},
	})
}
