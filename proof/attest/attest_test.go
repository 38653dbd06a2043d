// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

func disk(t *testing.T, size int64, parts map[int64]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	for at, text := range parts {
		_, err := f.WriteAt([]byte(text), at)
		require.NoError(t, err)
	}
	return path
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	sums, err := FileBlocks(t.Context(), path, nil)
	require.NoError(t, err)
	return DiskDigest(sums)
}

// The digest depends on what is on the disk and where, and on nothing else.
func TestDiskDigest(t *testing.T) {
	const block = sparse.BlockSize
	data := map[int64]string{0: "first", 5*block + 7: "second"}
	want := digestOf(t, disk(t, 8*block, data))
	zeros := string(make([]byte, block))
	for name, path := range map[string]string{
		"zeros that are written": disk(t, 8*block, map[int64]string{0: "first", 5*block + 7: "second", 3 * block: zeros}),
		"a larger disk":          disk(t, 4000*block, data),
		"not whole blocks":       disk(t, 5*block+100, data),
	} {
		require.Equal(t, want, digestOf(t, path), name)
	}
	for name, path := range map[string]string{
		"another place":  disk(t, 8*block, map[int64]string{0: "first", 6*block + 7: "second"}),
		"another byte":   disk(t, 8*block, map[int64]string{0: "first", 5*block + 7: "sekond"}),
		"a block less":   disk(t, 8*block, map[int64]string{0: "first"}),
		"nothing at all": disk(t, 8*block, nil),
	} {
		require.NotEqual(t, want, digestOf(t, path), name)
	}
	// As docs/proof.md says how to compute it.
	h := sha256.New()
	h.Write([]byte("rightimage-disk-digest/1 524288\n"))
	for _, b := range []struct {
		index int64
		at    int
		text  string
	}{{0, 0, "first"}, {5, 7, "second"}} {
		content := make([]byte, block)
		copy(content[b.at:], b.text)
		sum := sha256.Sum256(content)
		require.NoError(t, binary.Write(h, binary.BigEndian, b.index))
		h.Write(sum[:])
	}
	require.Equal(t, hex.EncodeToString(h.Sum(nil)), want)
}

func TestDifferences(t *testing.T) {
	sum := func(s string) sparse.Sum { return sparse.Checksum([]byte(s)) }
	zero := sparse.Checksum(make([]byte, sparse.BlockSize))
	list := func(m map[int64]sparse.Sum) *sparse.Linear {
		l := &sparse.Linear{}
		for i, s := range m {
			l.Add(i, s)
		}
		return l
	}
	want := list(map[int64]sparse.Sum{0: sum("a"), 2: sum("b"), 9: sum("c"), 10: zero})
	require.Empty(t, Differences(want, list(map[int64]sparse.Sum{0: sum("a"), 2: sum("b"), 4: zero, 9: sum("c")})))
	var at []int64
	for _, d := range Differences(want, list(map[int64]sparse.Sum{0: sum("x"), 1: sum("y"), 9: sum("c"), 400: sum("z")})) {
		require.Equal(t, d.Block*sparse.BlockSize, d.Offset)
		at = append(at, d.Block)
	}
	require.Equal(t, []int64{0, 1, 2, 400}, at)
	require.Equal(t, "", Differences(want, list(nil))[0].Got, "zeros")
}

// pair writes the two halves of a key.
func pair(t *testing.T, key crypto.Signer) (private, public string) {
	t.Helper()
	dir := t.TempDir()
	text, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	require.NoError(t, err)
	private, public = filepath.Join(dir, "key"), filepath.Join(dir, "key.pub")
	require.NoError(t, os.WriteFile(private, text, 0o600))
	text, err = cryptoutils.MarshalPublicKeyToPEM(key.Public())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(public, text, 0o600))
	return private, public
}

func edKey(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

var facts = Facts{
	Name: "web 1", File: "disk.raw", DiskDigest: strings.Repeat("ab", 32), Source: "rightimage-disk", OS: "debian 12",
	InputURL: "https://example.com/base.qcow2", InputChecksum: "sha256:" + strings.Repeat("0c", 32), PublishID: "id",
	Packages: map[string]int{"deb": 3}, Started: time.Unix(1e9, 0), Finished: time.Unix(1e9+60, 0),
}

func TestStatement(t *testing.T) {
	data, err := NewStatement(facts).Encode()
	require.NoError(t, err)
	s, err := ParseStatement(data)
	require.NoError(t, err)
	require.Equal(t, facts.DiskDigest, s.DiskDigest())
	var doc map[string]any
	require.NoError(t, json.Unmarshal(data, &doc))
	require.Equal(t, "https://in-toto.io/Statement/v1", doc["_type"])
	require.Equal(t, "https://slsa.dev/provenance/v1", doc["predicateType"])
	definition := doc["predicate"].(map[string]any)["buildDefinition"].(map[string]any)
	require.Equal(t, []any{map[string]any{"name": "source", "uri": "https://example.com/base.qcow2", "digest": map[string]any{"sha256": strings.Repeat("0c", 32)}}}, definition["resolvedDependencies"])
	require.Equal(t, map[string]any{"name": "web 1", "source": "rightimage-disk", "os": "debian 12"}, definition["externalParameters"])
	run := doc["predicate"].(map[string]any)["runDetails"].(map[string]any)
	require.Equal(t, map[string]any{"invocationId": "id", "startedOn": "2001-09-09T01:46:40Z", "finishedOn": "2001-09-09T01:47:40Z"}, run["metadata"])

	for name, bad := range map[string]string{
		"nothing": "", "another type": `{"_type":"x"}`, "another predicate": `{"_type":"` + StatementType + `","predicateType":"x"}`,
		"no digest":    `{"_type":"` + StatementType + `","predicateType":"` + ProvenanceType + `","subject":[{"name":"x","digest":{"sha256":"ab"}}]}`,
		"short digest": `{"_type":"` + StatementType + `","predicateType":"` + ProvenanceType + `","subject":[{"name":"x","digest":{"` + DigestName + `":"ab"}}]}`,
	} {
		_, err := ParseStatement([]byte(bad))
		require.ErrorIs(t, err, ErrStatement, name)
	}
	for text, kind := range map[string]string{
		"sha256:" + strings.Repeat("1", 64): "sha256", strings.Repeat("1", 40): "sha1", "md5:" + strings.Repeat("f", 32): "md5", "none": "", "": "", "sha256:" + strings.Repeat("g", 64): "",
	} {
		got, _, ok := cutChecksum(text)
		require.Equal(t, kind, got)
		require.Equal(t, kind != "", ok)
	}
}

func TestSignAndOpen(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, stranger := pair(t, edKey(t))
	other, err := LoadVerifier(stranger)
	require.NoError(t, err)
	for name, key := range map[string]crypto.Signer{"ed25519": edKey(t), "ecdsa": ecKey, "rsa": rsaKey} {
		t.Run(name, func(t *testing.T) {
			private, public := pair(t, key)
			signer, err := LoadSigner(private, "")
			require.NoError(t, err)
			verifier, err := LoadVerifier(public)
			require.NoError(t, err)
			require.Equal(t, signer.KeyID(), verifier.KeyID())
			bundled, err := Sign(NewStatement(facts), signer)
			require.NoError(t, err)

			s, signed, err := Open(bundled, verifier)
			require.NoError(t, err)
			require.True(t, signed)
			require.Equal(t, facts.DiskDigest, s.DiskDigest())
			var b struct {
				MediaType    string
				DsseEnvelope json.RawMessage
			}
			require.NoError(t, json.Unmarshal(bundled, &b))
			require.Equal(t, BundleType, b.MediaType)
			_, _, err = Open(b.DsseEnvelope, verifier)
			require.NoError(t, err, "a bare envelope")

			_, _, err = Open(bundled, other)
			require.ErrorIs(t, err, ErrSignature, "another key")
			forged := facts
			forged.DiskDigest = strings.Repeat("00", 32)
			payload, err := NewStatement(forged).Encode()
			require.NoError(t, err)
			var env map[string]any
			require.NoError(t, json.Unmarshal(b.DsseEnvelope, &env))
			env["payload"] = base64.StdEncoding.EncodeToString(payload)
			forgery, err := json.Marshal(env)
			require.NoError(t, err)
			_, _, err = Open(forgery, verifier)
			require.ErrorIs(t, err, ErrSignature, "another payload")
			env["signatures"] = []any{}
			forgery, err = json.Marshal(env)
			require.NoError(t, err)
			_, _, err = Open(forgery, verifier)
			require.ErrorIs(t, err, ErrSignature, "no signature")
			_, _, err = Open(payload, verifier)
			require.ErrorIs(t, err, ErrSignature, "a statement that is not signed")
			s, signed, err = Open(payload, nil)
			require.NoError(t, err)
			require.False(t, signed)
			require.Equal(t, forged.DiskDigest, s.DiskDigest())
		})
	}
}

// A key as cosign writes it.
func TestEncryptedKey(t *testing.T) {
	der, err := cryptoutils.MarshalPrivateKeyToDER(edKey(t))
	require.NoError(t, err)
	sealed, err := encrypted.Encrypt(der, []byte("hush"))
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "cosign.key")
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed}), 0o600))
	_, err = LoadSigner(path, "hush")
	require.NoError(t, err)
	_, err = LoadSigner(path, "wrong")
	require.ErrorIs(t, err, ErrKey)
	_, err = LoadSigner(path, "")
	require.ErrorContains(t, err, PasswordVariable)
	_, err = LoadSigner(path+".none", "")
	require.ErrorIs(t, err, ErrKey)
	_, err = LoadVerifier(path)
	require.ErrorIs(t, err, ErrKey)
}

func TestTemplate(t *testing.T) {
	dir := t.TempDir()
	_, err := Template(dir)
	require.ErrorContains(t, err, "no templates")
	for _, n := range []string{"b.pkr.hcl", "a.pkr.hcl", "c.auto.pkrvars.hcl", "readme.md"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, n), []byte(n), 0o600))
	}
	all, err := Template(dir)
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, Descriptor{Name: "template", URI: "file:a.pkr.hcl", Digest: SHA256([]byte("a.pkr.hcl"))}, all[0])
	one, err := Template(filepath.Join(dir, "readme.md"))
	require.NoError(t, err)
	require.Len(t, one, 1)
	_, err = Template(filepath.Join(dir, "none"))
	require.ErrorContains(t, err, "template_file")
}

func FuzzOpen(f *testing.F) {
	data, _ := NewStatement(facts).Encode()
	f.Add(data)
	f.Add([]byte(`{"dsseEnvelope":{"payload":"` + base64.StdEncoding.EncodeToString(data) + `","payloadType":"` + PayloadType + `","signatures":[{"sig":"AA=="}]}}`))
	f.Add([]byte(`{"payload":"e30","payloadType":"x","signatures":null}`))
	_, key, err := ed25519.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	if err != nil {
		f.Fatal(err)
	}
	text, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	path := filepath.Join(f.TempDir(), "key.pub")
	if err != nil || os.WriteFile(path, text, 0o600) != nil {
		f.Fatal(err)
	}
	verifier, err := LoadVerifier(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, _, err := Open(data, nil); err == nil && len(s.DiskDigest()) != 64 {
			t.Fatal("a statement without a digest")
		}
		if _, _, err := Open(data, verifier); err == nil {
			t.Fatal("a signature that nobody made")
		}
	})
}
