// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

type valueOf = rightscript.Value

func value(t *testing.T, text string) rightscript.Value {
	t.Helper()
	v, err := rightscript.ParseValue(text)
	require.NoError(t, err)
	return v
}
