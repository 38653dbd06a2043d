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
	for name, value := range map[string]string{"HOME": "~", "XDG_STATE_HOME": "", "RIGHTIMAGE_LOCAL_STATE": "", "RIGHTIMAGE_LOCAL_SECRET_KEY": ""} {
		t.Setenv(name, value) // some defaults depend on them
	}
	p, err := render.Cobra(rootCommand())
	require.NoError(t, err)
	render.Check(t, "../..", p)
}
