// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

func TestMain(m *testing.M) {
	code := storetest.Main(m, nil)
	if binary != "" {
		_ = os.Remove(binary)
	}
	os.Exit(code)
}

// full tells whether the long tests run, see "make test-full".
func full() bool { return os.Getenv("RIGHTIMAGE_E2E") == "full" }

var binary string

// rightscaled is the program as users run it, built once.
func rightscaled(t *testing.T) string {
	t.Helper()
	if binary == "" {
		file := filepath.Join(os.TempDir(), "storm-rightscaled-"+filepath.Base(t.TempDir()))
		out, err := exec.Command("go", "build", "-o", file, "../../cmd/rightscaled").CombinedOutput()
		require.NoError(t, err, string(out))
		binary = file
	}
	return binary
}

func options(t *testing.T) Options {
	o := Options{Binary: rightscaled(t), Dir: t.TempDir(), Replicas: 1, Agents: 60, Haste: 10, Log: t.Logf}
	if storetest.Kind() == storetest.PostgreSQL {
		o.Replicas, o.Database = 2, storetest.Empty(t)
	}
	return o
}

func run(t *testing.T, o Options) Report {
	t.Helper()
	r, err := Run(t.Context(), o)
	require.NoError(t, err)
	t.Logf("%s, %d replica(s), %d agents: %.0f a second; requests %s; agents %s; statuses %v", storetest.Kind(), o.Replicas, o.Agents, r.Rate, r.Requests, r.Boots, r.Statuses)
	return r
}

// Agents boot at once, get pushed scripts, and come back after a restart.
func TestStorm(t *testing.T) {
	o := options(t)
	o.Steady, o.Restart = time.Second, true
	r := run(t, o)
	require.Equal(t, o.Agents, r.Boots.Count)
	require.Positive(t, r.Pushes.Count)
	require.Less(t, r.Pushes.P50, time.Second)
	require.Positive(t, r.CPU)
}

// One of two replicas is killed in the middle of a storm: each agent enrols
// exactly once, and none is lost.
func TestKilledReplica(t *testing.T) {
	if storetest.Kind() != storetest.PostgreSQL {
		t.Skip("replicas need PostgreSQL")
	}
	o := options(t)
	o.Disturb, o.Agents = Kill, 300
	if full() {
		o.Agents, o.Haste, o.Within = 5000, 1, 10*time.Second
	}
	run(t, o)
}

// The large storm on SQLite, with its one process.
func TestLargeStorm(t *testing.T) {
	if !full() || storetest.Kind() != storetest.SQLite {
		t.Skip("it takes long: RIGHTIMAGE_E2E=full; with PostgreSQL, TestKilledReplica is it")
	}
	o := options(t)
	o.Agents, o.Haste, o.Within, o.Restart = 5000, 1, 10*time.Second, true
	run(t, o)
}

// A rolling restart in the middle of a storm loses no enrolment, with SQLite and
// its one process either.
func TestRollingRestart(t *testing.T) {
	o := options(t)
	o.Disturb, o.Agents = Roll, 150
	run(t, o)
}

// What an agent costs must not grow with the agents that are known.
func TestCostOfManyKnownAgents(t *testing.T) {
	if !full() {
		t.Skip("it measures: RIGHTIMAGE_E2E=full")
	}
	cost := func(known int) time.Duration {
		best := time.Hour
		for range 2 {
			o := options(t)
			o.Known, o.Agents, o.Replicas, o.Haste, o.Within = known, 500, 1, 1, 2*time.Second
			o.DatabaseTime = storetest.CPU
			best = min(best, run(t, o).Cost())
		}
		return best
	}
	few, many := cost(1000), cost(20000)
	t.Logf("%s: %s per agent at 1,000 known agents, %s at 20,000", storetest.Kind(), few, many)
	require.LessOrEqual(t, float64(many), 1.3*float64(few))
}

func TestTimes(t *testing.T) {
	require.Zero(t, times(nil).Count)
	var list []time.Duration
	for i := range 200 {
		list = append(list, time.Duration(200-i)*time.Millisecond)
	}
	got := times(list)
	require.Equal(t, []time.Duration{101 * time.Millisecond, 199 * time.Millisecond, 200 * time.Millisecond}, []time.Duration{got.P50, got.P99, got.Max})
}
