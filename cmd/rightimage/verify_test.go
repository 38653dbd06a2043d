// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// runHere runs the command and returns what it printed and how it would end.
func runHere(t *testing.T, args ...string) (string, int) {
	var out, errs bytes.Buffer
	cmd := rootCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), exitCode(t.Context(), err)
}

func TestVerifyAndClean(t *testing.T) {
	root := filepath.Join(t.TempDir(), "r")
	require.NoError(t, os.Mkdir(root, 0o755))
	require.NoError(t, corpus.Base(root))
	_, code := runHere(t, "verify", root)
	require.Zero(t, code)

	history := filepath.Join(root, "root/.bash_history")
	require.NoError(t, os.WriteFile(history, []byte("ls\n"), 0o600))
	out, code := runHere(t, "verify", root, "--json")
	require.Equal(t, exitFindings, code)
	r, err := verify.ReadJSON([]byte(out))
	require.NoError(t, err)
	require.Equal(t, "cred-histories", r.Findings[0].Check)
	_, code = runHere(t, "verify", root, "--private")
	require.Zero(t, code, "a warning on a private image")
	_, code = runHere(t, "verify", root, "--fail-on", "never")
	require.Zero(t, code)

	_, code = runHere(t, "clean", root, "--dry-run")
	require.Zero(t, code)
	require.FileExists(t, history)
	_, code = runHere(t, "clean", root, "--free-space", "none", "--record", filepath.Join(t.TempDir(), "c.json"))
	require.Zero(t, code)
	require.NoFileExists(t, history)
	_, code = runHere(t, "verify", root)
	require.Zero(t, code)
}

func TestVerifyUsage(t *testing.T) {
	for _, args := range [][]string{
		{"verify"}, {"verify", "a", "b"}, {"verify", ".", "--format", "pdf"}, {"verify", ".", "--fail-on", "death"}, {"verify", ".", "--check", "none"},
		{"verify", ".", "--secret-env", "NOT_SET_ANYWHERE"}, {"clean"}, {"clean", ".", "--free-space", "burn"}, {"clean", ".", "--keep", "x"}, {"clean", "/"},
	} {
		_, code := runHere(t, args...)
		require.Equal(t, exitUsage, code, "%v", args)
	}
}
