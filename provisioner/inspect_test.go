// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// shell is a guest whose commands run here.
type shell struct{ here }

type lines []string

func (l *lines) Say(text string) { *l = append(*l, text) }

// The last act in a tree: the real program cleans and verifies it; blockers fail
// the build of an image for everybody alone.
func TestLastAct(t *testing.T) {
	built := filepath.Join(t.TempDir(), "imagecheck")
	out, err := exec.Command("go", "build", "-o", built, "../cmd/imagecheck").CombinedOutput()
	require.NoError(t, err, "%s", out)
	act := func(t *testing.T, c Config, public bool, plant corpus.Plant) (string, string, error) {
		root := filepath.Join(t.TempDir(), "r")
		require.NoError(t, os.Mkdir(root, 0o755))
		require.NoError(t, corpus.Base(root))
		r := &corpus.Root{Dir: root}
		plant(r)
		require.NoError(t, r.Err)
		var said lines
		err := lastAct{root, t.TempDir(), func(string) ([]byte, error) { return os.ReadFile(built) }}.inspect(context.Background(), shell{}, c, public, &said)
		return root, strings.Join(said, "\n"), err
	}
	if os.Geteuid() != 0 {
		t.Skip("files of the image belong to root")
	}
	key := corpus.File("/opt/app/key", corpus.PEM("RSA PRIVATE KEY"))
	history := corpus.File("/root/.bash_history", "ls\n")

	root, said, err := act(t, Config{}, true, history)
	require.NoError(t, err)
	require.Contains(t, said, "remove /root/.bash_history")
	require.Contains(t, said, "0 blockers")
	require.NoFileExists(t, filepath.Join(root, "root/.bash_history"))

	_, said, err = act(t, Config{}, true, key)
	require.ErrorIs(t, err, errUnfit)
	require.Contains(t, said, "blocker: cred-private-keys: /opt/app/key")

	_, said, err = act(t, Config{}, false, key)
	require.NoError(t, err, "private: only told")
	require.Contains(t, said, "cred-private-keys")

	waivers := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(waivers, []byte("waivers:\n  - {id: cred-private-keys, path: /opt/app/*, reason: a sample, expires: 2999-01-01}\n"), 0o600))
	var c Config
	require.NoError(t, c.prepare(map[string]any{"waivers_file": waivers, "free_space": "none"}))
	_, _, err = act(t, c, true, key)
	require.NoError(t, err)

	require.NoError(t, c.prepare(map[string]any{"clean": false, "verify": false}))
	root, said, err = act(t, c, true, history)
	require.NoError(t, err)
	require.Empty(t, said)
	require.FileExists(t, filepath.Join(root, "root/.bash_history"))
}

func TestOptionsOfTheLastAct(t *testing.T) {
	var c Config
	err := c.prepare(map[string]any{"free_space": "burn", "clean_keep": []string{"tmp"}, "waivers_file": "/nowhere.yaml"})
	for _, part := range []string{`free_space: "burn"`, `clean_keep: "tmp"`, "waivers_file: open /nowhere.yaml"} {
		require.ErrorContains(t, err, part)
	}
}
