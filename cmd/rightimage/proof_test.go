// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// key makes a pair of keys with openssl, as the manual says.
func (d *desk) key(name string) (private, public string) {
	d.t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		d.t.Skip("openssl is not installed")
	}
	private, public = filepath.Join(d.dir, name+".key"), filepath.Join(d.dir, name+".pub")
	for _, args := range [][]string{{"genpkey", "-algorithm", "ed25519", "-out", private}, {"pkey", "-in", private, "-pubout", "-out", public}} {
		out, err := exec.Command("openssl", args...).CombinedOutput()
		require.NoError(d.t, err, string(out))
	}
	return private, public
}

func TestAttestCommands(t *testing.T) {
	d := newDesk(t)
	private, public := d.key("sign")
	_, stranger := d.key("stranger")
	raw := d.disk("disk.raw", 4)
	list := filepath.Join(d.dir, "images.json")
	stdout, stderr, code := d.do("publish", raw, "--region", "eu-west-1,us-east-1", "--ami-name", "web (1)", "--catalogue-file", list, "--signing-key-file", private, "--json")
	require.Equal(t, 0, code, stderr)
	var result publish.Result
	require.NoError(t, json.Unmarshal([]byte(stdout), &result))
	ami := result.Images["us-east-1"].ImageID
	file, err := catalogue.Read(list)
	require.NoError(t, err)
	entry := file.Entries[0]
	require.Equal(t, result.DiskDigest, entry.DiskDigest)
	statement := entry.Proof(list, "provenance")
	require.Equal(t, filepath.Join(d.dir, "web--1-.provenance.sigstore.json"), statement)
	require.FileExists(t, statement)
	require.FileExists(t, filepath.Join(d.dir, "web--1-.blocklist"))

	t.Run("the copy in another region is the same", func(t *testing.T) {
		out, errOut, code := d.do("attest", "verify", ami, "--catalogue-file", list, "--key", public)
		require.Equal(t, 0, code, errOut)
		require.Contains(t, out, result.DiskDigest)
		require.Contains(t, out, result.Images["us-east-1"].SnapshotIDs[0])
	})
	t.Run("so is the disk", func(t *testing.T) {
		out, errOut, code := d.do("attest", "verify", raw, "--statement", statement, "--key", public, "--json")
		require.Equal(t, 0, code, errOut)
		var c compared
		require.NoError(t, json.Unmarshal([]byte(out), &c))
		require.True(t, c.Same && c.Signed)
	})
	t.Run("another key", func(t *testing.T) {
		_, errOut, code := d.do("attest", "verify", ami, "--catalogue-file", list, "--key", stranger)
		require.Equal(t, exitFindings, code)
		require.Contains(t, errOut, "signature does not hold")
	})
	t.Run("another disk", func(t *testing.T) {
		other := filepath.Join(d.dir, "other.raw")
		data, err := os.ReadFile(raw)
		require.NoError(t, err)
		data[3*mib+5] ^= 1
		_, _ = rand.NewChaCha8([32]byte{2}).Read(data[10*mib : 11*mib])
		require.NoError(t, os.WriteFile(other, data, 0o600))
		out, errOut, code := d.do("publish", other, "--region", "eu-west-1", "--ami-name", "other", "--json")
		require.Equal(t, 0, code, errOut)
		var r publish.Result
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		out, errOut, code = d.do("attest", "verify", r.Images["eu-west-1"].ImageID, "--region", "eu-west-1", "--statement", statement, "--key", public, "--json", "--show", "2")
		require.Equal(t, exitFindings, code, errOut)
		var c compared
		require.NoError(t, json.Unmarshal([]byte(out), &c))
		require.False(t, c.Same)
		require.Equal(t, 3, c.Differing)
		require.Len(t, c.Differences, 2)
		require.Equal(t, int64(6), c.Differences[0].Block)
		require.Equal(t, int64(20), c.Differences[1].Block)
		require.Empty(t, c.Differences[1].Want, "zeros were promised")

		out, _, code = d.do("attest", "verify", other, "--statement", statement, "--key", public)
		require.Equal(t, exitFindings, code)
		require.Contains(t, out, "block 6 (from byte 3145728)")
		out, _, code = d.do("attest", "verify", other, "--statement", statement, "--key", public, "--blocks", filepath.Join(d.dir, "none"))
		require.Equal(t, exitFindings, code)
		require.Contains(t, out, "cannot be told")
	})
	t.Run("sign by hand", func(t *testing.T) {
		own := filepath.Join(d.dir, "own.json")
		out, errOut, code := d.do("attest", "sign", ami, "--region", "us-east-1", "--key", private, "--output", own, "--json")
		require.Equal(t, 0, code, errOut)
		require.Contains(t, out, result.DiskDigest)
		_, errOut, code = d.do("attest", "verify", result.Images["eu-west-1"].ImageID, "--region", "eu-west-1", "--statement", own, "--key", public)
		require.Equal(t, 0, code, errOut)
		_, errOut, code = d.do("attest", "sign", raw, "--key", private)
		require.Equal(t, 0, code, errOut)
		_, errOut, code = d.do("attest", "verify", raw, "--key", public)
		require.Equal(t, 0, code, errOut)
	})
	t.Run("wrong flags", func(t *testing.T) {
		for _, args := range [][]string{
			{"sign", raw}, {"sign", raw, "--key", public}, {"verify", ami}, {"verify", ami, "--key", public}, {"verify", raw, "--key", private},
			{"verify", raw, "--key", public, "--unsigned"}, {"verify"}, {"sign", ami, "--key", private},
		} {
			_, errOut, code := d.do(append([]string{"attest"}, args...)...)
			require.Equal(t, exitUsage, code, "%v: %s", args, errOut)
		}
		_, errOut, code := d.do("attest", "verify", "ami-00000000", "--region", "eu-west-1", "--statement", statement, "--key", public)
		require.Equal(t, exitFailed, code, errOut)
	})
}

// A publication that fails leaves no proofs, and those of an earlier one.
func TestProofsOfAFailure(t *testing.T) {
	d := newDesk(t)
	raw := d.disk("disk.raw", 1)
	bill := filepath.Join(d.dir, "fails.provenance.json")
	require.NoError(t, os.WriteFile(bill, []byte("earlier"), 0o600))
	_, stderr, code := d.do("publish", raw, "--region", "eu-west-1", "--ami-name", "fails", "--ami-users", "123456789012", "--catalogue-file", filepath.Join(d.dir, "no", "such"))
	require.Equal(t, exitUsage, code, stderr)
	d.fault(fault.Rule{Action: "ModifyImageAttribute", Kind: fault.Deny})
	_, stderr, code = d.do("publish", raw, "--region", "eu-west-1", "--ami-name", "fails", "--ami-users", "123456789012", "--catalogue-file", filepath.Join(d.dir, "images.json"))
	require.Equal(t, exitFailed, code, stderr)
	require.NoFileExists(t, filepath.Join(d.dir, "images.json"))
	text, err := os.ReadFile(bill)
	require.NoError(t, err)
	require.Equal(t, "earlier", string(text))
	require.NoFileExists(t, filepath.Join(d.dir, "fails.blocklist"))
	images, snapshots := d.there("eu-west-1")
	require.Empty(t, append(images, snapshots...))
}

func TestSBOMAndDiff(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, root := range []string{from, to} {
		require.NoError(t, os.Mkdir(root, 0o755))
		require.NoError(t, corpus.Base(root))
	}
	out, code := runHere(t, "sbom", from)
	require.Zero(t, code)
	require.Contains(t, out, `"specVersion": "1.6"`)
	again, _ := runHere(t, "sbom", from)
	require.Equal(t, out, again)
	out, code = runHere(t, "sbom", from, "--format", "table")
	require.Zero(t, code)
	require.Contains(t, out, "deb ")
	file := filepath.Join(t.TempDir(), "bill.xml")
	_, code = runHere(t, "sbom", from, "--format", "cyclonedx-xml", "-o", file, "--time", "2030-01-31T00:00:00Z")
	require.Zero(t, code)
	require.FileExists(t, file)

	out, code = runHere(t, "diff", from, to, "--exit-code")
	require.Zero(t, code, out)
	require.NoError(t, os.WriteFile(filepath.Join(to, "etc/motd"), []byte("hello\n"), 0o644))
	out, code = runHere(t, "diff", from, to, "--exit-code", "--json")
	require.Equal(t, exitFindings, code)
	var r imagediff.Result
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	require.Equal(t, "/etc/motd", r.Configuration[0].Path)
	require.Equal(t, to, r.To.Target)
	out, code = runHere(t, "diff", from, to, "--format", "markdown")
	require.Zero(t, code)
	require.Contains(t, out, "- `/etc/motd`")

	for _, args := range [][]string{{"sbom"}, {"sbom", from, "--format", "pdf"}, {"sbom", from, "--time", "noon"}, {"diff", from}, {"diff", from, to, "--format", "pdf"}} {
		_, code := runHere(t, args...)
		require.Equal(t, exitUsage, code, args)
	}
	_, code = runHere(t, "sbom", from+"/none")
	require.Equal(t, exitFailed, code)
}
