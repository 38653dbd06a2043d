// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
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
	disk := onlyMatch(t, filepath.Join(s.Work, "image", "*.raw"))
	out, err := s.Command(ctx, nil, s.Bin("rightimage"), "verify", disk, "--json", "--fail-on", "never")
	require.NoError(t, err)
	report, err := verify.ReadJSON([]byte(out))
	require.NoError(t, err)
	require.Greater(t, report.Files, int64(5000), "the whole tree")
	require.Empty(t, report.Open(verify.Warning))
}
