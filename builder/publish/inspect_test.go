// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// A key that the disk holds outside of any file.
func keyDisk(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 1<<30))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(corpus.Key()), 3<<20)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// A public image with a key on its disk is refused before any call is made; a
// private one is told of; a waiver and the option let it pass.
func TestPublicDiskWithAKeyIsRefused(t *testing.T) {
	path := keyDisk(t)
	waivers := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(waivers, []byte("waivers:\n  - {id: fs-deleted-data, path: '*', reason: made up, expires: 2999-01-01}\n"), 0o600))
	for name, c := range map[string]Config{
		"image":    {ShareConfig: ShareConfig{AMIGroups: []string{"all"}}},
		"snapshot": {ShareConfig: ShareConfig{SnapshotGroups: []string{"all"}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&Publisher{Config: c, ui: new(recorder)}).Disk(t.Context(), path) // without regions or clients: a call would panic
			var unfit *UnfitError
			require.ErrorAs(t, err, &unfit)
			require.ErrorContains(t, err, "nothing was made")
			require.NotContains(t, err.Error(), corpus.KeySecret())
			for _, ok := range []VerifyConfig{{WaiversFile: waivers}, {SkipDiskScan: true}} {
				c.VerifyConfig = ok
				require.NoError(t, c.Inspect(t.Context(), path, func(string) {}))
			}
		})
	}
	var said []string
	require.NoError(t, Config{}.Inspect(t.Context(), path, func(text string) { said = append(said, text) }))
	require.Contains(t, strings.Join(said, "\n"), "warning: fs-deleted-data: the disk AWS access key")
}

func TestSecretsOfTheBuildAreFound(t *testing.T) {
	path := keyDisk(t)
	c := Config{ShareConfig: ShareConfig{AMIGroups: []string{"all"}}}
	c.BuildSecrets = []string{"region"} // too short
	c.SecretKey = corpus.KeySecret()
	err := c.Inspect(t.Context(), path, func(string) {})
	require.ErrorContains(t, err, "secret of this build: secret 1")
	require.NotContains(t, err.Error(), corpus.KeySecret())
}

func TestWaiversOfATemplate(t *testing.T) {
	c := Config{VerifyConfig: VerifyConfig{WaiversFile: filepath.Join(t.TempDir(), "none.yaml")}}
	require.ErrorContains(t, c.prepareVerify(), "waivers_file: open")
}
