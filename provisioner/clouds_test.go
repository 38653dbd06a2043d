// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
)

// TestClouds: an image is made only for clouds that bootstrap knows.
func TestClouds(t *testing.T) {
	require.ElementsMatch(t, append(cloud.Names(), cloudAuto), clouds())
}
