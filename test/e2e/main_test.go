// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package e2e boots real machines. Its tests run when RIGHTIMAGE_E2E is set, as
// "make test" does; "full" adds the long ones.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// fixture is what all tests share: one base disk, one platform, one local
// cloud, one AMI. The first test that asks for it builds it.
type fixture struct {
	once  sync.Once
	story *chain.Story
	err   error
}

var shared fixture

// interrupted ends every test at the first interrupt, so that all of them clean
// up.
var interrupted context.Context

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	interrupted = ctx
	code := m.Run()
	stop()
	if shared.story != nil {
		if err := shared.story.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// testContext ends with the test binary's deadline or an interrupt, early
// enough to clean up.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx := interrupted
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-2*time.Minute))
		t.Cleanup(cancel)
	}
	return ctx
}

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("RIGHTIMAGE_E2E") == "" {
		t.Skip("boots machines; set RIGHTIMAGE_E2E=1 or use 'make test'")
	}
}

func needFull(t *testing.T) {
	t.Helper()
	if os.Getenv("RIGHTIMAGE_E2E") != "full" {
		t.Skip("takes long; set RIGHTIMAGE_E2E=full or use 'make test-full'")
	}
}

// machineRoom returns the shared fixture: a story that has come as far as
// having its servers on the platform.
func machineRoom(t *testing.T) *chain.Story {
	t.Helper()
	needE2E(t)
	ctx := testContext(t)
	shared.once.Do(func() {
		env, err := chain.New("e2e", testWriter{})
		if err != nil {
			shared.err = err
			return
		}
		shared.story = chain.NewStory(env)
		shared.err = shared.story.Prepare(ctx)
	})
	if shared.err != nil {
		t.Fatalf("prepare image, platform and local cloud: %v", shared.err)
	}
	return shared.story
}

// testWriter shows progress while tests run with -v or fail.
type testWriter struct{}

func (testWriter) Write(p []byte) (int, error) { return os.Stderr.Write(p) }
