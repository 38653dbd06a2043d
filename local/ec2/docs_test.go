// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentation holds docs/local.md to what there is.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/local.md")
	require.NoError(t, err)
	for _, table := range (&Service{}).actions() {
		for name := range table {
			require.Truef(t, regexp.MustCompile(`\b`+name+`\b`).Match(text), "docs/local.md must list %s", name)
		}
	}
}
