// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/manual/render"
)

//go:generate go test . -run ^TestManual$ -count=1 -update-manual

// The man page and the completions are what --help says, and what it says there is.
func TestManual(t *testing.T) {
	p, err := render.Usage("rightlink", usage)
	require.NoError(t, err)
	for _, c := range p.Commands {
		var out, problems strings.Builder
		require.Zero(t, command([]string{c.Name, "--help"}, &out, &problems), "%s: %s", c.Name, problems.String())
		require.Equal(t, usage, out.String())
	}
	render.Check(t, "../..", p)
}
