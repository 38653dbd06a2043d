// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

// rig is a local cloud without machines, behind a proxy that fails calls.
type rig struct {
	endpoint string
	proxy    *matrix.Proxy
	source   string // AMI
	before   []string
}

const (
	home = "us-east-1"
	away = "eu-west-1"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	server, err := local.New(local.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	r := &rig{endpoint: server.Info().Endpoint}
	r.proxy, err = matrix.New(r.endpoint)
	require.NoError(t, err)
	r.proxy.Repeats = 2
	t.Cleanup(r.proxy.Close)

	disk := filepath.Join(t.TempDir(), "disk.raw")
	data := make([]byte, 1<<20)
	_, _ = rand.Read(data)
	require.NoError(t, os.WriteFile(disk, data, 0o600))
	c := publish.Config{AccessConfig: publish.AccessConfig{Region: home, EndpointURL: r.endpoint, AccessKey: "local", SecretKey: "local"}, AMIName: "the source"}
	require.Empty(t, c.PrepareDisk())
	factory, err := awsx.New(t.Context(), c.AWS())
	require.NoError(t, err)
	result, err := publish.Publish(t.Context(), factory, disk, c, quiet(nil))
	require.NoError(t, err)
	r.source = result.Images[home].ImageID
	r.before = r.inventory(t)
	return r
}

func (r *rig) inventory(t *testing.T) []string {
	t.Helper()
	list, err := matrix.Inventory(context.Background(), r.endpoint, home, away)
	require.NoError(t, err)
	return list
}

// left is what has come since the beginning.
func (r *rig) left(t *testing.T) []string {
	return slices.DeleteFunc(r.inventory(t), func(s string) bool { return slices.Contains(r.before, s) })
}

// build runs the builder with everything on, but without anything to connect to.
func (r *rig) build(t *testing.T, ctx context.Context, ui packersdk.Ui, more map[string]any) (packersdk.Artifact, error) {
	t.Helper()
	options := map[string]any{
		"endpoint_url": r.proxy.URL, "access_key": "local", "secret_key": "local", "max_retries": 2,
		"source_ami": r.source, "regions": []string{away}, "ami_name": "made by a test", "undo_timeout": "2m", "ami_users": []string{"111122223333"},
		"temporary_iam_instance_profile_policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`,
		"launch_block_device_mappings":          []map[string]any{{"device_name": "/dev/sdf", "volume_size": 1, "delete_on_termination": false}},
	}
	for k, v := range more {
		options[k] = v
	}
	b, err := prepared(t, options)
	require.NoError(t, err)
	b.config.NotYet = 100 * time.Millisecond
	factory, err := awsx.New(ctx, b.config.AWS())
	require.NoError(t, err)
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

func TestBuildInTheLocalCloud(t *testing.T) {
	for name, more := range map[string]map[string]any{
		"on demand": nil,
		"spot":      {"instance_type": nil, "spot_instance_types": []string{"t3.small", "t3a.small"}, "spot_price": "0.05"},
		"no AMI":    {"skip_create_ami": true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			var text lockedBuffer
			a, err := r.build(t, t.Context(), quiet(&text), more)
			require.NoError(t, err, text.String())
			left := r.left(t)
			if name == "no AMI" {
				require.Empty(t, left)
				require.Empty(t, a.Id())
				require.NoError(t, a.Destroy())
				return
			}
			require.Len(t, left, 6, "in each region an image and two snapshots, and nothing else: %v", left)
			require.Regexp(t, `^eu-west-1:ami-[0-9a-f]+,us-east-1:ami-[0-9a-f]+$`, a.Id())
			require.NoError(t, a.Destroy())
			require.Empty(t, r.left(t))
		})
	}
}

// Every API call of a whole build fails in turn, in every way. Nothing is left,
// or exactly what is left is listed. Without RIGHTIMAGE_E2E, which "make test"
// sets, each call fails in one of the ways only.
func TestFailureMatrix(t *testing.T) {
	first := newRig(t)
	first.proxy.Fail(0, "", nil)
	_, err := first.build(t, t.Context(), quiet(nil), nil)
	require.NoError(t, err)
	calls := first.proxy.Calls()
	require.Greater(t, len(calls), 40)
	before := runtime.NumGoroutine()
	var all errgroup.Group
	all.SetLimit(16) // they mostly wait
	for n, call := range calls {
		for i, way := range matrix.Ways() {
			if os.Getenv("RIGHTIMAGE_E2E") == "" && i != n%len(matrix.Ways()) {
				continue
			}
			all.Go(func() error {
				t.Run(fmt.Sprintf("%02d %s/%s", n+1, call, way), func(t *testing.T) { failInTheLocalCloud(t, n+1, way) })
				return nil
			})
		}
	}
	_ = all.Wait()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, 20*time.Second, 100*time.Millisecond, "goroutines are left")
}

func failInTheLocalCloud(t *testing.T, nth int, way matrix.Way) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.proxy.Fail(nth, way, cancel)
	var text lockedBuffer
	more := map[string]any{}
	if way == matrix.Refused {
		more["undo_timeout"] = "10s" // some of it can only fail
	}
	a, err := r.build(t, ctx, quiet(&text), more)
	failed := r.proxy.Failed()
	if failed == "" {
		t.Skip("this run was shorter")
	}
	r.proxy.Fail(0, "", nil)
	left := r.left(t)
	if err == nil {
		require.NotEqual(t, matrix.CancelBefore, way, "a cancelled build is no success")
		require.NotEqual(t, matrix.CancelAfter, way, "a cancelled build is no success")
		require.NoError(t, a.Destroy())
		left = r.left(t)
	} else {
		fmt.Fprintln(&text, err)
	}
	for _, thing := range left {
		id := thing[strings.LastIndex(thing, " ")+1:]
		require.Contains(t, text.String(), id, "left without a word after %s of %s", way, failed)
	}
	if way != matrix.Refused {
		require.Empty(t, left, "after %s of %s:\n%s", way, failed, text.String())
	}
}
