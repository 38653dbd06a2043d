// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// thief holds keys of some roles, and writes into the mirror. What needs a key
// that it has not, it signs with one that it has.
type thief struct {
	*world
	keys map[string]ed25519.PrivateKey
}

func (w *world) stolen(roles ...string) *thief {
	w.t.Helper()
	th := &thief{w, map[string]ed25519.PrivateKey{}}
	for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
		if slices.Contains(roles, role) {
			th.keys[role] = w.key(role)
		} else {
			th.keys[role] = w.key(roles[0])
		}
	}
	return th
}

func (w *world) key(role string) ed25519.PrivateKey {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.repo.Keys.Dir, role+".key"))
	require.NoError(w.t, err)
	block, _ := pem.Decode(text)
	require.NotNil(w.t, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(w.t, err)
	return key.(ed25519.PrivateKey)
}

func (w *world) put(name string, data []byte) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.repo.Dir, "metadata", name), data, 0o600))
}

// now are the documents that the mirror shows.
func (w *world) now() (*metadata.Metadata[metadata.TimestampType], *metadata.Metadata[metadata.SnapshotType], *metadata.Metadata[metadata.TargetsType]) {
	w.t.Helper()
	timestamp, err := metadata.Timestamp().FromBytes(w.read("timestamp.json"))
	require.NoError(w.t, err)
	snapshot, err := metadata.Snapshot().FromBytes(w.read(fmt.Sprintf("%d.snapshot.json", timestamp.Signed.Meta["snapshot.json"].Version)))
	require.NoError(w.t, err)
	targets, err := metadata.Targets().FromBytes(w.read(fmt.Sprintf("%d.targets.json", snapshot.Signed.Meta["targets.json"].Version)))
	require.NoError(w.t, err)
	return timestamp, snapshot, targets
}

func entry(version int64, data []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(data)
	m := metadata.MetaFile(version)
	m.Length, m.Hashes = int64(len(data)), metadata.Hashes{"sha256": sum[:]}
	return m
}

// publish makes the mirror show other documents; nil changes nothing.
func (th *thief) publish(targets func(*metadata.TargetsType), snapshot func(*metadata.SnapshotType), timestamp func(*metadata.TimestampType)) {
	th.t.Helper()
	ts, sn, tg := th.now()
	if targets != nil {
		tg.Signed.Version++
		targets(&tg.Signed)
		data := made(th.t, tg, th.keys["targets"])
		th.put(fmt.Sprintf("%d.targets.json", tg.Signed.Version), data)
		sn.Signed.Meta["targets.json"] = entry(tg.Signed.Version, data)
	}
	if targets != nil || snapshot != nil {
		sn.Signed.Version++
		if snapshot != nil {
			snapshot(&sn.Signed)
		}
		data := made(th.t, sn, th.keys["snapshot"])
		th.put(fmt.Sprintf("%d.snapshot.json", sn.Signed.Version), data)
		ts.Signed.Meta["snapshot.json"] = entry(sn.Signed.Version, data)
	}
	ts.Signed.Version++
	if timestamp != nil {
		timestamp(&ts.Signed)
	}
	th.put("timestamp.json", made(th.t, ts, th.keys["timestamp"]))
}

// arbitrary adds software of the thief's.
func (th *thief) arbitrary(s *metadata.TargetsType) {
	file := &metadata.TargetFiles{Path: "9.9.9/rightlink_9.9.9_amd64.deb", Length: 1, Hashes: metadata.Hashes{"sha256": make([]byte, sha256.Size)}}
	for _, other := range s.Targets {
		file.Custom = other.Custom
	}
	s.Targets[file.Path] = file
}

// A stolen key vouches for its own role only: whoever has it can neither add
// software nor bring back old software.
func TestStolenKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		keys   []string
		attack func(th *thief)
		says   string
	}{
		"timestamp, other software": {[]string{"timestamp"}, func(th *thief) { th.publish(th.arbitrary, nil, nil) }, "snapshot has 0 valid signatures"},
		"snapshot and timestamp, other software": {[]string{"snapshot", "timestamp"}, func(th *thief) { th.publish(th.arbitrary, nil, nil) },
			"targets has 0 valid signatures"},
		"targets, other software": {[]string{"targets"}, func(th *thief) { th.publish(th.arbitrary, nil, nil) }, "timestamp has 0 valid signatures"},
		"timestamp, old snapshot": {[]string{"timestamp"}, func(th *thief) {
			th.publish(nil, nil, func(ts *metadata.TimestampType) {
				n := ts.Meta["snapshot.json"].Version - 1
				ts.Meta["snapshot.json"] = entry(n, th.read(fmt.Sprintf("%d.snapshot.json", n)))
			})
		}, "snapshot.json is version 2, older than version 3"},
		"snapshot and timestamp, old software": {[]string{"snapshot", "timestamp"}, func(th *thief) {
			th.publish(nil, func(sn *metadata.SnapshotType) {
				n := sn.Meta["targets.json"].Version - 1
				sn.Meta["targets.json"] = entry(n, th.read(fmt.Sprintf("%d.targets.json", n)))
			}, nil)
		}, "targets.json is version 2, older than version 3"},
		"snapshot and timestamp, no software": {[]string{"snapshot", "timestamp"}, func(th *thief) {
			th.publish(nil, func(sn *metadata.SnapshotType) { delete(sn.Meta, "targets.json") }, nil)
		}, "older than"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("0.2.0")
			cat, err := w.refresh()
			require.NoError(t, err)
			require.Equal(t, int64(3), cat.Targets)
			tc.attack(w.stolen(tc.keys...))
			w.refused(tc.says)
		})
	}
}

// Version numbers as high as they get, by one who had the keys that sign every
// day, must not lock clients out for ever: new keys make them forgotten.
func TestFastForward(t *testing.T) {
	const ahead = 1 << 50
	for name, keys := range map[string][]string{"timestamp": {"timestamp"}, "snapshot, timestamp": {"snapshot", "timestamp"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			honest := w.state()
			th := w.stolen(keys...)
			var snapshot func(*metadata.SnapshotType)
			if len(keys) > 1 {
				snapshot = func(sn *metadata.SnapshotType) { sn.Version = ahead }
			}
			th.publish(nil, snapshot, func(ts *metadata.TimestampType) { ts.Version = ahead })
			cat, err := w.refresh()
			require.NoError(t, err, "a client cannot know better")
			require.Equal(t, int64(ahead), cat.Timestamp)
			for path, data := range honest {
				w.put(filepath.Base(path), data)
			}
			require.NoError(t, w.repo.Sign())
			w.refused("a rollback")

			require.NoError(t, w.repo.Rotate(keys...))
			w.add("0.2.0")
			cat, err = w.refresh()
			require.NoError(t, err)
			require.Less(t, cat.Timestamp, int64(100))
			_, ok := cat.Named("rightlink_0.2.0_amd64.deb")
			require.True(t, ok)
		})
	}
}

// A key that was replaced vouches for nothing any more, and the old root cannot
// make another root.
func TestReplacedKeys(t *testing.T) {
	w := newWorld(t)
	th := w.stolen("root", "targets", "snapshot", "timestamp")
	require.NoError(t, w.repo.Rotate("root", "targets", "snapshot", "timestamp"))
	_, err := w.refresh()
	require.NoError(t, err)
	good := w.state()
	th.publish(th.arbitrary, nil, nil)
	w.refused("timestamp has 0 valid signatures")
	for path, data := range good {
		w.put(filepath.Base(path), data)
	}
	root, err := metadata.Root().FromBytes(w.read("2.root.json"))
	require.NoError(t, err)
	root.Signed.Version++
	w.put("3.root.json", made(t, root, th.keys["root"]))
	w.refused("root has 0 valid signatures")
}

// Where two of three keys are needed, one stolen key is not enough: not for
// software, and not for a new root.
func TestThresholds(t *testing.T) {
	w := newWorld(t)
	root, err := metadata.Root().FromBytes(w.baked)
	require.NoError(t, err)
	extra := map[string][]ed25519.PrivateKey{}
	for _, role := range []string{metadata.ROOT, metadata.TARGETS} {
		for range 2 {
			public, private, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			key, err := metadata.KeyFromPublicKey(public)
			require.NoError(t, err)
			require.NoError(t, root.Signed.AddKey(key, role))
			extra[role] = append(extra[role], private)
		}
		root.Signed.Roles[role].Threshold = 2
	}
	root.Signed.Version++
	w.put("2.root.json", made(t, root, w.key("root"), extra["root"][0]))
	w.refused("targets has 1 valid signatures of the keys that the root names; 2 are needed")

	_, _, targets := w.now()
	sign := func(keys ...ed25519.PrivateKey) {
		th := w.stolen("root", "targets", "snapshot", "timestamp")
		data := made(t, targets, keys...)
		th.put(fmt.Sprintf("%d.targets.json", targets.Signed.Version), data)
		th.publish(nil, func(sn *metadata.SnapshotType) { sn.Meta["targets.json"] = entry(targets.Signed.Version, data) }, nil)
	}
	targets.Signed.Version++
	sign(extra["targets"][0])
	w.refused("targets has 1 valid signatures")
	targets.Signed.Version++
	sign(extra["targets"][0], extra["targets"][1])
	cat, err := w.refresh()
	require.NoError(t, err)
	require.Len(t, cat.Files, 1)

	// The next root needs two keys of this one.
	root.Signed.Version++
	w.put("3.root.json", made(t, root, extra["root"][1]))
	w.refused("root has 1 valid signatures")
	w.put("3.root.json", made(t, root, extra["root"][1], w.key("root")))
	cat, err = w.refresh()
	require.NoError(t, err)
	require.Equal(t, int64(3), cat.Root)

	// The same key under two names counts once.
	alias := "ab"
	id := hex.EncodeToString(extra["targets"][0].Public().(ed25519.PublicKey))
	for _, key := range root.Signed.Keys {
		if key.Value.PublicKey == id {
			root.Signed.Keys[alias] = key
			root.Signed.Roles[metadata.TARGETS].KeyIDs = append(root.Signed.Roles[metadata.TARGETS].KeyIDs, alias)
			break
		}
	}
	root.Signed.Version++
	w.put("4.root.json", made(t, root, extra["root"][1], w.key("root")))
	targets.Signed.Version++
	one, err := metadata.Targets().FromBytes(made(t, targets, extra["targets"][0]))
	require.NoError(t, err)
	one.Signatures = append(one.Signatures, metadata.Signature{KeyID: alias, Signature: one.Signatures[0].Signature})
	data, err := one.ToBytes(false)
	require.NoError(t, err)
	th := w.stolen("root", "targets", "snapshot", "timestamp")
	th.put(fmt.Sprintf("%d.targets.json", targets.Signed.Version), data)
	th.publish(nil, func(sn *metadata.SnapshotType) { sn.Meta["targets.json"] = entry(targets.Signed.Version, data) }, nil)
	_, err = w.refresh()
	require.ErrorIs(t, err, trust.ErrRefused)
	require.ErrorContains(t, err, "targets has 1 valid signatures")
}
