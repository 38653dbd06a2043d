// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package quickstart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlocks(t *testing.T) {
	page := "# Title\n\n```sh install\nmake\n```\ntext\n```sh\ncat <<'EOT'\n# no heading\nEOT\n```\n"
	got, err := Blocks(page)
	require.NoError(t, err)
	require.Equal(t, []Block{{4, Install, "make\n"}, {8, "", "cat <<'EOT'\n# no heading\nEOT\n"}}, got)
	for bad, want := range map[string]string{
		"```hcl\nx\n```\n":         `line 1: a block of "hcl"`,
		"```sh fast\nx\n```\n":     `unknown kind "fast"`,
		"a\n```sh\nx\n":            "line 3: the block has no end",
		"like this:\n\n    rm x\n": "line 3: indented code",
	} {
		_, err := Blocks(bad)
		require.ErrorContains(t, err, want)
	}
}

func TestScript(t *testing.T) {
	blocks := []Block{{4, Install, "git clone\n"}, {8, BaseDisk, "build\n"}, {12, "", "work\n"}, {16, OnMachine, "there\n"}}
	short := Surroundings{Repo: "/repo", Cache: "/cache", Base: "/base", Machine: "/m"}.Script("p.md", blocks)
	for _, want := range []string{"echo '== p.md:12'\nwork\n", "cp --sparse=always /base base.raw\n", "chroot /m /bin/bash -eu <<'END OF BLOCK'\nthere\nEND OF BLOCK\n"} {
		require.Contains(t, short, want)
	}
	require.NotContains(t, short, "git clone")
	full := Surroundings{Full: true}.Script("p.md", blocks)
	for _, want := range []string{"git clone\n", "\nbuild\n", "\nwork\n"} {
		require.Contains(t, full, want)
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../../docs/quickstart-*.md")
	require.NoError(t, err)
	require.Len(t, list, 4, "one for each of the four kinds of users")
	return list
}

// Each page is shell that can be read, begins by building the tools, and is in the
// index of the manual.
func TestPages(t *testing.T) {
	index, err := os.ReadFile("../../docs/README.md")
	require.NoError(t, err)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		blocks, err := Blocks(string(text))
		require.NoError(t, err, page)
		require.Equal(t, Install, blocks[0].Kind, page)
		require.Contains(t, string(index), "("+filepath.Base(page)+")")
		for _, full := range []bool{false, true} {
			cmd := exec.Command("bash", "-n")
			cmd.Stdin = strings.NewReader(Surroundings{Full: full, Machine: "/m"}.Script(filepath.Base(page), blocks))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s", page, out)
		}
	}
}
