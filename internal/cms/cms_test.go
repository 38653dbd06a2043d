// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cms

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func signerOf(t testing.TB, name string, serial int64) (*x509.Certificate, *rsa.PrivateKey) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{name}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

func TestSignAndVerify(t *testing.T) {
	cert, key := signerOf(t, "one", 1)
	other, _ := signerOf(t, "one", 1)
	namesake, _ := signerOf(t, "two", 1)
	content := bytes.Repeat([]byte("{\"a\":1}\n"), 100)
	raw, err := Sign(content, cert, key, time.Now())
	require.NoError(t, err)
	m, err := Parse(raw)
	require.NoError(t, err)
	require.Equal(t, content, m.Content)
	require.True(t, m.NamesSigner(cert))
	require.False(t, m.NamesSigner(namesake))
	require.NoError(t, m.Verify(cert, content))
	require.ErrorIs(t, m.Verify(other, content), ErrSignature)
	require.ErrorIs(t, m.Verify(cert, append(bytes.Clone(content), ' ')), ErrSignature)

	// No single byte can be changed without being noticed, but for those that
	// say how the message is packed.
	accepted := 0
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 0x01
		m, err := Parse(changed)
		if err == nil && m.NamesSigner(cert) && m.Verify(cert, m.Content) == nil {
			require.Equal(t, content, m.Content)
			accepted++
		}
	}
	require.Less(t, accepted, 60, "of %d bytes", len(raw))
}

// OpenSSL is the judge of what we write, and the author of what we must read.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	cert, key := signerOf(t, "one", 77)
	content := []byte("{\n  \"instanceId\" : \"i-1\"\n}")
	raw, err := Sign(content, cert, key, time.Now())
	require.NoError(t, err)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		return filepath.Join(dir, name)
	}
	message := file("message", raw)
	certificate := file("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	private := file("key.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	text := file("text", content)
	out, err := exec.Command("openssl", "smime", "-verify", "-in", message, "-inform", "DER", "-certfile", certificate, "-noverify").Output()
	require.NoError(t, err)
	require.Equal(t, content, out)

	for _, form := range [][]string{{"-nodetach"}, {"-nodetach", "-noattr"}, {}, {"-nodetach", "-stream", "-indef"}} {
		theirs := filepath.Join(dir, "theirs")
		args := append([]string{"cms", "-sign", "-binary", "-nocerts", "-md", "sha256", "-in", text, "-signer", certificate, "-inkey", private, "-outform", "DER", "-out", theirs}, form...)
		printed, err := exec.Command("openssl", args...).CombinedOutput()
		require.NoError(t, err, string(printed))
		raw, err := os.ReadFile(theirs)
		require.NoError(t, err)
		m, err := Parse(raw)
		require.NoError(t, err, form)
		require.True(t, m.NamesSigner(cert))
		require.NoError(t, m.Verify(cert, content), form)
	}
}

func TestHostileForms(t *testing.T) {
	for name, raw := range map[string][]byte{
		"empty":          nil,
		"text":           []byte("hello"),
		"deep":           bytes.Repeat([]byte{0x30, 0x80}, 5000),
		"long length":    {0x30, 0x84, 0xff, 0xff, 0xff, 0xff},
		"huge":           make([]byte, maxSize+1),
		"no end":         {0x30, 0x80, 0x02, 0x01, 0x01},
		"high tag":       {0x3f, 0x03, 0x02, 0x01, 0x01},
		"primitive 0x80": {0x04, 0x80, 0x00, 0x00},
		"mixed octets":   {0x24, 0x03, 0x02, 0x01, 0x01},
	} {
		_, err := Parse(raw)
		require.ErrorIs(t, err, ErrForm, name)
	}
}

func FuzzParse(f *testing.F) {
	cert, key := signerOf(f, "one", 1)
	content := []byte("content")
	raw, err := Sign(content, cert, key, time.Unix(0, 0))
	require.NoError(f, err)
	f.Add(raw)
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err == nil && m.Verify(cert, m.Content) == nil && !bytes.Equal(m.Content, content) {
			t.Errorf("another content passes: %q", m.Content)
		}
	})
}
