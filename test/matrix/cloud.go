// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

// The regions of the cloud, and its only credentials.
const (
	Here      = "eu-west-1"
	There     = "us-east-1"
	AccessKey = "AKIATEST"
	SecretKey = "hush-hush"
)

// maxRetries is how often a run repeats a call.
const maxRetries = 3

// Cloud is a local cloud in this process, without machines.
type Cloud struct {
	// Endpoint is its URL.
	Endpoint string
	// Dir is a directory for the run's own files.
	Dir string

	server *local.Server
	end    func()
}

// Start starts a cloud. Its state lies in memory where the system allows it.
func Start(t testing.TB, tweaks ...func(*local.Config)) (*Cloud, error) {
	return startFrom(t, "", tweaks...)
}

// startFrom starts a cloud with a copy of the directory of another, which has
// been stopped.
func startFrom(t testing.TB, other string, tweaks ...func(*local.Config)) (*Cloud, error) {
	dir, err := os.MkdirTemp(memory(), "rightimage-test-")
	if err != nil {
		return nil, err
	}
	if other != "" {
		// cp keeps holes.
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", other+"/.", dir).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("copy the seeded cloud: %w: %s", err, out), os.RemoveAll(dir))
		}
	}
	c := local.Config{
		Listen: "127.0.0.1:0", StateDir: dir + "/cloud", NoBoot: true, Regions: []string{Here, There}, Settle: time.Nanosecond,
		AccessKey: AccessKey, SecretKey: secret.String(SecretKey), Log: slog.New(slog.DiscardHandler),
	}
	for _, tweak := range tweaks {
		tweak(&c)
	}
	s, err := local.New(c)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	cloud := &Cloud{Endpoint: s.Info().Endpoint, Dir: dir, server: s, end: sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Log("the cloud ended with:", err)
		}
	})}
	t.Cleanup(cloud.Stop)
	return cloud, nil
}

// Stop ends the cloud and removes its directory.
func (c *Cloud) Stop() {
	c.end()
	_ = os.RemoveAll(c.Dir)
}

// Faults makes its calls go wrong.
func (c *Cloud) Faults() *fault.Set { return c.server.Faults() }

// Calls is how often each action was called, as "ec2:CopyImage".
func (c *Cloud) Calls() map[string]int { return maps.Clone(c.server.Faults().Calls()) }

// Access is how it is reached.
func (c *Cloud) Access() awsx.Config {
	return awsx.Config{Region: Here, AccessKey: AccessKey, SecretKey: secret.String(SecretKey), EndpointURL: c.Endpoint, MaxRetries: maxRetries}
}

// Factory makes its clients.
func (c *Cloud) Factory(ctx context.Context) (*awsx.Factory, error) { return awsx.New(ctx, c.Access()) }

func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// Quiet keeps the settings of this machine out of a test.
func Quiet(t testing.TB) {
	t.Helper()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_EBS", "AWS_PROFILE",
		"AWS_POLL_DELAY_SECONDS", "AWS_MAX_ATTEMPTS", "AWS_TIMEOUT_SECONDS",
	} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
}

// usage is what a run must give back.
type usage struct{ goroutines, files int }

func inUse() usage {
	files, _ := os.ReadDir("/proc/self/fd") // none where there is no such directory
	return usage{runtime.NumGoroutine(), len(files)}
}

// noLeak fails the test when goroutines or open files of the runs are still
// there.
func noLeak(t *testing.T, before usage) {
	t.Helper()
	var now usage
	for range 100 {
		if now = inUse(); now.goroutines <= before.goroutines+2 && now.files <= before.files+2 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	buf := make([]byte, 1<<16)
	t.Errorf("before: %+v, after: %+v\n%s", before, now, buf[:runtime.Stack(buf, true)])
}

func sorted(calls map[string]int) []string { return slices.Sorted(maps.Keys(calls)) }

func total(calls map[string]int) (n int) {
	for _, c := range calls {
		n += c
	}
	return n
}
