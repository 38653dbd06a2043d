// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

func TestArtifact(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, name := range []string{"a.raw", catalogueName} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	a := &Artifact{Disk: filepath.Join(dir, "a.raw"), StateData: map[string]any{"generated_data": 1}}
	require.Equal(t, "rightimage.disk", a.BuilderId())
	require.Equal(t, "a.raw", a.Id())
	require.Equal(t, 1, a.State("generated_data"))
	require.Nil(t, a.State("nothing"))
	require.Equal(t, []string{filepath.Join(dir, "a.raw"), filepath.Join(dir, catalogueName)}, a.Files())
	require.NoError(t, a.Destroy())
	require.NoDirExists(t, dir)
	require.NoError(t, a.Destroy(), "destroying again is harmless")

	a.Published = &publish.Result{Images: map[string]publish.Image{"us-west-2": {ImageID: "ami-2"}, "eu-west-1": {ImageID: "ami-1"}}}
	require.Equal(t, "eu-west-1:ami-1,us-west-2:ami-2", a.Id())
	require.Contains(t, a.String(), "us-west-2: ami-2")
	require.Contains(t, a.String(), "a.raw")
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:pass@host/a.raw?token=1#x": "https://host/a.raw",
		"/srv/a b.raw":                           "/srv/a b.raw",
		"disk.raw":                               "disk.raw",
	} {
		require.Equal(t, want, redactURL(in))
	}
}
