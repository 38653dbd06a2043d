// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package version

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	require.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+(-dev)?$`, String(), "Packer takes no other prerelease mark from a plugin than dev")
	require.Regexp(t, `^[0-9]+\.[0-9]+\.[0-9]+$`, Package())
	defer func(old string) { text = old }(text)
	for in, want := range map[string][3]string{"1.2.3\n": {"1.2.3", "", "1.2.3"}, "1.2.3-dev\n": {"1.2.3-dev", "dev", "1.2.3"}} {
		text = in
		require.Equal(t, want, [3]string{String(), Prerelease(), Package()})
	}
}
