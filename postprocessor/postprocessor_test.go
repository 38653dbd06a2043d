// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package postprocessor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
)

func TestConfigure(t *testing.T) {
	good := map[string]any{"region": "eu-west-1", "ami_name": "abc"}
	for name, tc := range map[string]struct {
		change map[string]any
		want   []string
	}{
		"good":           {nil, nil},
		"no region":      {map[string]any{"region": ""}, []string{"region: missing"}},
		"two choices":    {map[string]any{"disk": "x", "disk_index": 1}, []string{"disk_index: is 1 although disk is set"}},
		"several things": {map[string]any{"disk_index": -1, "disk_format": "vhd", "volume_type": "gp9", "nope": 1}, []string{"disk_index", "disk_format", "volume_type", "nope"}},
		"late templates": {map[string]any{"disk": "{{ .Path }}", "tags": map[string]string{"A": "{{ .B }}"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw := map[string]any{}
			for _, m := range []map[string]any{good, tc.change} {
				for k, v := range m {
					raw[k] = v
				}
			}
			err := new(PostProcessor).Configure(raw)
			if tc.want == nil {
				require.NoError(t, err)
			}
			for _, w := range tc.want {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	dir := t.TempDir()
	file := func(name, head string) string {
		data := []byte(head + strings.Repeat("\x00", 4096-len(head)))
		if strings.HasSuffix(name, ".raw") {
			data[510], data[511] = 0x55, 0xaa
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	raw, other := file("a.raw", ""), file("b.raw", "")
	qcow2, vmdk := file("c", "QFI\xfb"), file("d.vmdk", "KDMV")
	list, zip := file("catalogue.json", "{}"), file("e.raw.gz", "\x1f\x8b")
	for name, tc := range map[string]struct {
		config Config
		files  []string
		want   string
		err    string
	}{
		"raw":            {Config{}, []string{raw, list}, raw, ""},
		"qcow2":          {Config{}, []string{list, qcow2}, qcow2, ""},
		"vmdk":           {Config{}, []string{vmdk}, vmdk, ""},
		"none":           {Config{}, []string{list, zip}, "", "catalogue.json has no partition table"},
		"compressed":     {Config{}, []string{zip}, "", "unpack it first"},
		"no files":       {Config{}, []string{}, "", "left no raw, qcow2 or vmdk disk: name one"},
		"several":        {Config{}, []string{raw, other}, "", "left 2 disks"},
		"the second":     {Config{DiskIndex: 2}, []string{raw, list, other}, other, ""},
		"no third":       {Config{DiskIndex: 3}, []string{raw, other}, "", "disk_index: is 3"},
		"by path":        {Config{Disk: "elsewhere.raw"}, []string{raw, other}, "elsewhere.raw", ""},
		"not there":      {Config{}, []string{filepath.Join(dir, "gone.raw")}, "", "no such file"},
		"directory":      {Config{}, []string{dir}, "", "is a directory"},
		"empty file":     {Config{}, []string{os.DevNull}, "", "is empty"},
		"shorter than 1": {Config{}, []string{short(t)}, "", "has no partition table"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.config.choose(&packersdk.MockArtifact{FilesValue: tc.files})
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// short is a file that is shorter than a sector.
func short(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "short")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	return path
}

func TestPostProcessNeedsADisk(t *testing.T) {
	p := new(PostProcessor)
	require.NoError(t, p.Configure(map[string]any{"region": "eu-west-1", "ami_name": "abc", "disk": "{{ .Disk }}"}))
	ui := &packersdk.MockUi{}
	source := &packersdk.MockArtifact{StateValues: map[string]any{"generated_data": map[any]any{"Disk": "/nowhere/x.raw"}}}
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "b")
	made, keep, _, err := p.PostProcess(t.Context(), ui, source)
	require.Nil(t, made)
	require.True(t, keep)
	var missing *os.PathError
	require.True(t, errors.As(err, &missing), "%v", err)
	require.Equal(t, "/nowhere/x.raw", missing.Path)
}
