// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
)

func call2(args ...string) (code int, stdout, stderr string) {
	var o, e bytes.Buffer
	code = command(context.Background(), args, &o, &e)
	return code, o.String(), e.String()
}

// debian is a root that detection knows, without metadata service and user-data.
func debian(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"etc/os-release":          "ID=debian\nVERSION_ID=12\n",
		"etc/rightscale.d/cloud":  "none",
		"usr/lib/systemd/systemd": "",
	} {
		full := filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o755))
	}
	return root
}

func TestExitCodes(t *testing.T) {
	root := debian(t)
	for _, tc := range []struct {
		want int
		args []string
	}{
		{0, []string{"--help"}},
		{0, []string{"help"}},
		{0, []string{"version"}},
		{0, []string{"--root", root, "status"}},
		{0, []string{"--root", root, "rightimage"}},
		{0, []string{"--root", root, "rightimage", "start"}},
		{0, []string{"--root", root, "rightimage", "stop"}},
		{0, []string{"--root", root, "rightimage", "status"}},
		{0, []string{"--root", root, "rightscale", "refresh"}},
		{0, []string{"--root", root, "register", "--image"}},
		{0, []string{"--root", root, "register", "--image", "--stages", "key,rightboot"}},
		{0, []string{"--root", root, "register", "--remove"}},
		{0, []string{"--root", root, "uninstall", "--help"}},
		{1, []string{"--root", root, "register", "--stages", "breakfast"}},
		{3, []string{"--root", root, "rightboot", "status"}},
		{3, []string{"--root", root, "supervise", "status"}},
		{255, nil},
		{255, []string{"dance"}},
		{255, []string{"--nonsense"}},
		{255, []string{"--root", root, "rightimage", "dance"}},
		{255, []string{"--root", root, "rightimage", "start", "stop"}},
		{255, []string{"--root", root, "status", "--xml"}},
		{255, []string{"--root", root, "uninstall", "everything"}},
		{0, []string{"--root", root, "upgrade"}},
		{255, []string{"--root", root, "upgrade", "--version", "../x"}},
	} {
		code, _, stderr := call2(tc.args...)
		require.Equal(t, tc.want, code, "%v: %s", tc.args, stderr)
		require.Equal(t, code == 0, stderr == "" || bytes.Contains([]byte(stderr), []byte("level=INFO")), "%v: %s", tc.args, stderr)
	}
}

func TestUnknownSystemExits2(t *testing.T) {
	root := debian(t)
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=plan9\n"), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/spool/none"), 0o755))
	data := "RS_rn_id=1&RS_rn_auth=x&RS_account=1&RS_server=rs.example.net"
	require.NoError(t, os.WriteFile(filepath.Join(root, "var/spool/none/user-data.txt"), []byte(data), 0o600))
	code, _, stderr := call2("--root", root, "rightimage")
	require.Equal(t, 2, code, stderr)
	require.Contains(t, stderr, "plan9")
}

// TestHelpIsComplete: every stage is explained.
func TestHelpIsComplete(t *testing.T) {
	_, stdout, _ := call2("--help")
	for _, s := range bootstrap.Plan() {
		require.Contains(t, stdout, "\n  "+s.Name+" ")
	}
}

func TestStatusJSON(t *testing.T) {
	root := debian(t)
	for range 2 {
		code, stdout, _ := call2("--root", root, "status", "--json")
		require.Equal(t, 0, code)
		var s struct {
			Stages []struct{ Name, Result string } `json:"stages"`
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &s))
		require.NotNil(t, s.Stages)
		if len(s.Stages) > 0 {
			require.Equal(t, "rightimage", s.Stages[0].Name)
			require.Equal(t, "dormant", s.Stages[0].Result)
		}
		_, _, _ = call2("--root", root, "rightimage")
	}
}
