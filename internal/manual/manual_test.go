// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package manual

import (
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func programs() []string { return []string{"rightimage", "rightscaled", "bootstrap", "rightlink"} }

func TestContents(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1_700_000_000, 0)
	list, err := Contents(dir, "deb", at, "rightimage", "bootstrap")
	require.NoError(t, err)
	var paths []string
	for _, c := range list {
		paths = append(paths, c.Destination)
		require.Equal(t, at, c.FileInfo.MTime)
		require.Equal(t, os.FileMode(0o644), c.FileInfo.Mode)
		require.FileExists(t, c.Source)
	}
	require.Equal(t, []string{
		"/usr/share/man/man1/rightimage.1.gz", "/usr/share/bash-completion/completions/rightimage",
		"/usr/share/zsh/vendor-completions/_rightimage", "/usr/share/fish/vendor_completions.d/rightimage.fish",
		"/usr/share/man/man8/bootstrap.8.gz", "/usr/share/bash-completion/completions/bootstrap",
		"/usr/share/zsh/vendor-completions/_bootstrap", "/usr/share/fish/vendor_completions.d/bootstrap.fish",
	}, paths)
	f, err := os.Open(list[0].Source)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	text, err := io.ReadAll(zip)
	require.NoError(t, err)
	require.Contains(t, string(text), ".TH \"RIGHTIMAGE\" \"1\"")

	_, err = Contents(dir, "deb", at, "nothing")
	require.ErrorContains(t, err, "manual of nothing")
	rpm, err := Contents(dir, "rpm", at, "rightlink")
	require.NoError(t, err)
	require.Equal(t, "/usr/share/zsh/site-functions/_rightlink", rpm[2].Destination)
}

// Each program has its pages, and what reads them has no complaint.
func TestPages(t *testing.T) {
	for _, program := range programs() {
		for _, f := range filesOf(program, "deb") {
			file := filepath.Join("pages", f.name)
			require.FileExists(t, file, "run \"make generate\" and commit it")
			argv := []string{"groff", "-man", "-Tutf8", "-ww", "-z", file}
			switch ext := filepath.Ext(f.name); ext {
			case ".bash", ".zsh", ".fish":
				argv = []string{strings.TrimPrefix(ext, "."), "-n", file}
			}
			if _, err := exec.LookPath(argv[0]); err != nil {
				t.Logf("%s is not installed: %s is not checked", argv[0], file)
				continue
			}
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			require.NoError(t, err, "%s: %s", file, out)
			require.Empty(t, string(out), file)
		}
	}
}

// The completions of programs without cobra complete.
func TestBashCompletes(t *testing.T) {
	for _, tc := range []struct{ program, words, want string }{
		{"bootstrap", "stat", "status"},
		{"bootstrap", "status --", "--json"},
		{"bootstrap", "--root / uninstall --p", "--purge"},
		{"rightlink", "enroll --t", "--timeout"},
		{"rightlink", "ru", "run"},
	} {
		script := `. pages/$0.bash; COMP_WORDS=($0 $1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _$0; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", "-c", script, tc.program, tc.words).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, tc.want+"\n", string(out), "%s %s", tc.program, tc.words)
	}
}
