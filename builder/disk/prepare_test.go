// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// input makes a small local file that Prepare accepts.
func input(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.raw")
	require.NoError(t, os.WriteFile(path, make([]byte, 4096), 0o600))
	return path
}

func good(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{
		"packer_build_name": "demo",
		"iso_url":           input(t),
		"iso_checksum":      "none",
		"output_directory":  filepath.Join(t.TempDir(), "out"),
	}
}

func TestPrepareDefaults(t *testing.T) {
	raw := good(t)
	delete(raw, "output_directory")
	var b Builder
	generated, warnings, err := b.Prepare(raw)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, []string{"SourceImageURL", "RootPartition", "Architecture", "Everybody"}, generated)
	require.Equal(t, "output-demo", b.config.OutputDirectory)
	require.Equal(t, "demo.raw", b.config.OutputFilename)
	require.Equal(t, defaultMounts(), b.config.ChrootMounts)
	require.False(t, b.config.Wanted())
}

func TestPrepareOptions(t *testing.T) {
	exists := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(exists, "demo.raw"), nil, 0o600))

	for name, tc := range map[string]struct {
		set  map[string]any
		want []string // texts of the error; none means that it is accepted
	}{
		"nothing":            {map[string]any{}, nil},
		"unknown option":     {map[string]any{"iso_ulr": "x"}, []string{"iso_ulr"}},
		"no input":           {map[string]any{"iso_url": ""}, []string{"iso_url: missing"}},
		"both inputs":        {map[string]any{"iso_urls": []string{"a"}}, []string{"iso_url and iso_urls"}},
		"input not there":    {map[string]any{"iso_url": "/nowhere.raw"}, []string{"iso_url: /nowhere.raw", "no such file"}},
		"input a directory":  {map[string]any{"iso_url": exists}, []string{"not a file"}},
		"no checksum":        {map[string]any{"iso_checksum": ""}, []string{"iso_checksum: missing", "sha256sum"}},
		"not http":           {map[string]any{"iso_url": "s3::https://example.invalid/a.raw"}, []string{"iso_url: s3::", "path or an http(s) URL"}},
		"none for a URL":     {map[string]any{"iso_url": "https://example.invalid/a.raw"}, []string{"iso_checksum", "local disks only"}},
		"bad checksum":       {map[string]any{"iso_checksum": "sha256:12"}, []string{"iso_checksum: "}},
		"good checksum":      {map[string]any{"iso_checksum": "sha256:ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7"}, nil},
		"format":             {map[string]any{"disk_format": "vhd"}, []string{`disk_format: "vhd"`, "raw, qcow2, vmdk"}},
		"size":               {map[string]any{"disk_size": "8X"}, []string{`disk_size: "8X"`, "like 8G"}},
		"good size":          {map[string]any{"disk_size": "8GiB"}, nil},
		"partition":          {map[string]any{"root_partition": -1}, []string{"root_partition: -1"}},
		"file name":          {map[string]any{"output_filename": "a/b"}, []string{`output_filename: "a/b"`}},
		"catalogue's name":   {map[string]any{"output_filename": "rightimage-catalog.json"}, []string{"output_filename"}},
		"output exists":      {map[string]any{"output_directory": exists}, []string{"output_directory", "-force"}},
		"output forced":      {map[string]any{"output_directory": exists, "packer_force": true}, nil},
		"output is a file":   {map[string]any{"output_directory": filepath.Join(exists, "demo.raw")}, []string{"output_directory", "is a file"}},
		"mounts":             {map[string]any{"chroot_mounts": [][]string{{"proc", "proc"}}}, []string{"chroot_mounts: entry 1"}},
		"relative mount":     {map[string]any{"chroot_mounts": [][]string{{"proc", "proc", "proc"}}}, []string{"chroot_mounts: entry 1"}},
		"no mounts":          {map[string]any{"chroot_mounts": [][]string{}}, nil},
		"copy nothing there": {map[string]any{"copy_files": []string{"/nowhere"}}, []string{`copy_files: "/nowhere"`}},
		"copy none":          {map[string]any{"copy_files": []string{}}, nil},
		"wrapper":            {map[string]any{"command_wrapper": "sudo -n"}, []string{"command_wrapper", "{{.Command}}"}},
		"good wrapper":       {map[string]any{"command_wrapper": "doas {{.Command}}"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw := good(t)
			for k, v := range tc.set {
				raw[k] = v
			}
			var b Builder
			_, _, err := b.Prepare(raw)
			if tc.want == nil {
				require.NoError(t, err)
			}
			for _, text := range tc.want {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestPrepareReportsEverythingAtOnce(t *testing.T) {
	var b Builder
	_, _, err := b.Prepare(map[string]any{
		"iso_ulr": "x", "disk_format": "vhd", "disk_size": "-", "root_partition": 999,
		"output_filename": "../x", "chroot_mounts": [][]string{{"a"}}, "copy_files": []string{"b"}, "command_wrapper": "sudo",
	})
	for _, option := range []string{"iso_ulr", "iso_url:", "iso_checksum:", "disk_format:", "disk_size:", "root_partition:",
		"output_filename:", "chroot_mounts:", "copy_files:", "command_wrapper:"} {
		require.ErrorContains(t, err, option)
	}
}

func TestPrepareTwiceIsTheSame(t *testing.T) {
	raw := good(t)
	var b Builder
	_, _, err := b.Prepare(raw)
	require.NoError(t, err)
	first := b.config.inputs()
	b = Builder{}
	_, _, err = b.Prepare(raw)
	require.NoError(t, err)
	require.Equal(t, first, b.config.inputs())
}

// TestEveryOptionIsUsed proves that no option of ours is read nowhere: each
// field is mentioned outside of its declaration.
func TestEveryOptionIsUsed(t *testing.T) {
	used := selectors(t)
	for i := range reflect.TypeFor[Config]().NumField() {
		field := reflect.TypeFor[Config]().Field(i)
		if !field.Anonymous && field.Name != "ctx" {
			require.True(t, used[field.Name], "option %s is read nowhere", field.Name)
		}
	}
}

// selectors returns every name that follows a dot in this package's own code.
func selectors(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".hcl2spec.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used[s.Sel.Name] = true
			}
			return true
		})
	}
	return used
}
