// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/manual/render"
)

//go:generate go test . -run ^TestManual$ -count=1 -update-manual

// The man page and the completions are what the commands say.
func TestManual(t *testing.T) {
	for _, name := range []string{"RIGHTSCALED_DATA", "RIGHTSCALED_DATABASE", "RIGHTSCALED_KEY_FILE"} {
		t.Setenv(name, "") // some defaults depend on them
	}
	p, err := render.Cobra(root())
	require.NoError(t, err)
	render.Check(t, "../..", p)
}
