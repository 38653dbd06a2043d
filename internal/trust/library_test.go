// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"math/rand"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/stretchr/testify/require"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// library reads the same mirror with the library's own client.
func library(t *testing.T, root []byte, base string) (map[string]*metadata.TargetFiles, error) {
	t.Helper()
	cfg, err := config.New(base+"/metadata", root)
	require.NoError(t, err)
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = t.TempDir(), t.TempDir()
	u, err := updater.New(cfg)
	require.NoError(t, err)
	if err := u.Refresh(); err != nil {
		return nil, err
	}
	return u.GetTopLevelTargets(), nil
}

// TestAgainstLibrary: both clients see the same in a good mirror, also after
// rotations.
func TestAgainstLibrary(t *testing.T) {
	w := newWorld(t)
	w.add("0.2.0")
	require.NoError(t, w.repo.Rotate("root", "targets"))
	w.add("0.3.0-rc1")
	require.NoError(t, w.repo.Rotate("root", "snapshot", "timestamp"))
	theirs, err := library(t, w.baked, w.base)
	require.NoError(t, err)
	ours, err := w.refresh()
	require.NoError(t, err)
	require.Len(t, ours.Files, 3)
	require.Len(t, theirs, 3)
	for _, f := range ours.Files {
		require.Equal(t, f.Length, theirs[f.Target].Length)
		require.Equal(t, f.SHA256, hex.EncodeToString(theirs[f.Target].Hashes["sha256"]))
	}
}

// TestMutations changes single bytes of a good mirror: what our client accepts,
// the library's accepts too, and both see the same files.
func TestMutations(t *testing.T) {
	w := newWorld(t)
	w.add("0.2.0")
	require.NoError(t, w.repo.Rotate("root"))
	good := w.state()
	random := rand.New(rand.NewSource(1))
	accepted := 0
	for n := range 300 {
		state := map[string][]byte{}
		for name, data := range good {
			state[name] = data
		}
		names := []string{"/metadata/timestamp.json", "/metadata/2.root.json", "/metadata/4.snapshot.json", "/metadata/3.targets.json"}
		name := names[n%len(names)]
		data := bytes.Clone(good[name])
		require.NotEmpty(t, data, name)
		data[random.Intn(len(data))] = byte(random.Intn(256))
		state[name] = data
		w.replay(state)
		w.client.Dir = t.TempDir()
		ours, err := w.refresh()
		if err != nil {
			require.NotErrorIs(t, err, trust.ErrRoot)
			continue
		}
		accepted++
		theirs, err := library(t, w.baked, w.base)
		require.NoError(t, err, "%s: ours accepts what the library refuses:\n%s", name, data)
		require.Len(t, theirs, len(ours.Files))
	}
	require.Less(t, accepted, 100, "only changes of white space and of signatures that are not needed pass")
	t.Logf("%d of 300 accepted", accepted)
}

// made signs a document by hand, with keys and rules as the test wants them.
func made[T metadata.Roles](t *testing.T, m *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	t.Helper()
	m.ClearSignatures()
	for _, k := range keys {
		s, err := signature.LoadSigner(k, crypto.Hash(0))
		require.NoError(t, err)
		_, err = m.Sign(s)
		require.NoError(t, err)
	}
	data, err := m.ToBytes(false)
	require.NoError(t, err)
	return data
}

// TestThreshold: two of three keys are two keys, not one key twice under two
// names.
func TestThreshold(t *testing.T) {
	w := newWorld(t)
	root, err := metadata.Root().FromBytes(w.baked)
	require.NoError(t, err)
	var keys []ed25519.PrivateKey
	for range 3 {
		public, private, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		key, err := metadata.KeyFromPublicKey(public)
		require.NoError(t, err)
		require.NoError(t, root.Signed.AddKey(key, metadata.ROOT))
		keys = append(keys, private)
	}
	// The repository's own key stays; two of the four are needed.
	root.Signed.Roles[metadata.ROOT].Threshold = 2
	require.NoError(t, trust.CheckRoot(made(t, root, keys[0], keys[2])))
	require.ErrorIs(t, trust.CheckRoot(made(t, root, keys[1])), trust.ErrRoot)
	require.ErrorIs(t, trust.CheckRoot(made(t, root)), trust.ErrRoot)

	// The same key under a second name.
	text := string(made(t, root, keys[0]))
	for id, key := range root.Signed.Keys {
		if key.Value.PublicKey == hex.EncodeToString(keys[0].Public().(ed25519.PublicKey)) {
			alias := strings.Repeat("ab", 32)
			root.Signed.Keys[alias] = key
			root.Signed.Roles[metadata.ROOT].KeyIDs = append(root.Signed.Roles[metadata.ROOT].KeyIDs, alias)
			signed, err := metadata.Root().FromBytes(made(t, root, keys[0]))
			require.NoError(t, err)
			signed.Signatures = append(signed.Signatures, metadata.Signature{KeyID: alias, Signature: signed.Signatures[0].Signature})
			data, err := signed.ToBytes(false)
			require.NoError(t, err)
			require.ErrorContains(t, trust.CheckRoot(data), "1 valid signatures", id)
			break
		}
	}
	require.ErrorIs(t, trust.CheckRoot([]byte(strings.Replace(text, `"threshold":2`, `"threshold":0`, 1))), trust.ErrRoot)
	require.ErrorIs(t, trust.CheckRoot([]byte(strings.Replace(text, `"_type":"root"`, `"_type":"targets"`, 1))), trust.ErrRoot)
}
