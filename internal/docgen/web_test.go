// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForWeb(t *testing.T) {
	require.Equal(t,
		"a ["+"b]("+repository+"/blob/main/docs/c-d.md#e) [f](https://g) [h]("+repository+"/blob/main/SECURITY.md)\n| table |\n",
		forWeb("a [b](c-d.md#e) [f](https://g) [h](../SECURITY.md)\n<!-- options: x Y -->\n| table |\n<!-- end -->\n"))
	require.Equal(t, "## A\n```sh\n# b\n```\n### C\n", demote("# A\n```sh\n# b\n```\n## C\n"))
}

// The pages are what would be written, and lead nowhere beside themselves.
func TestWeb(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(root, "docs"), os.DirFS("../../docs")))
	require.NoError(t, web(root))
	require.NoError(t, web(root), "again")
	pages := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(root, ".web-docs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		pages++
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(text), "<!--")
		require.NotRegexp(t, regexp.MustCompile(`\]\([^h#)]`), string(text), path)
		name, err := filepath.Rel(root, path)
		require.NoError(t, err)
		committed, err := os.ReadFile(filepath.Join("../..", name))
		require.NoError(t, err, "run \"make generate\" and commit it")
		require.True(t, string(committed) == string(text), "%s is stale; run \"make generate\" and commit it", name)
		return nil
	}))
	require.Equal(t, len(components())+2, pages)
}
