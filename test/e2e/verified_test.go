// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify"
)

// TestDemoImageIsClean verifies the disk that the demo publishes, from below and
// from above: not even a warning.
func TestDemoImageIsClean(t *testing.T) {
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 5*time.Minute)
	defer cancel()
	disks, err := filepath.Glob(filepath.Join(s.Work, "image", "*.raw"))
	require.NoError(t, err)
	require.Len(t, disks, 1)
	out, err := s.Command(ctx, nil, s.Bin("rightimage"), "verify", disks[0], "--json", "--fail-on", "never")
	require.NoError(t, err)
	var report verify.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Greater(t, report.Files, int64(5000), "the whole tree")
	require.Empty(t, report.Open(verify.Warning))
}
