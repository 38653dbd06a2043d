// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEnsure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	names := []string{"localhost", "127.0.0.1", "169.254.169.253", "::1", "127.0.0.1"}
	first, err := Ensure(dir, names, now)
	require.NoError(t, err)

	roots := x509.NewCertPool()
	ca, err := CA(dir)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(ca))
	for _, name := range []string{"localhost", "127.0.0.1", "169.254.169.253", "[::1]"} {
		_, err := first.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
		require.NoError(t, err, name)
	}
	_, err = first.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "example.net", CurrentTime: now})
	require.Error(t, err)
	for file, mode := range map[string]os.FileMode{"ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644, "server.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), file)
	}

	again, err := Ensure(dir, names, now.Add(300*24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, first.Certificate, again.Certificate, "kept while it is good")

	renewed, err := Ensure(dir, names, now.Add(380*24*time.Hour))
	require.NoError(t, err)
	require.NotEqual(t, first.Certificate, renewed.Certificate, "renewed near its end")

	changed, err := Ensure(dir, append(names, "rs.example.net"), now)
	require.NoError(t, err)
	require.Equal(t, []string{"localhost", "rs.example.net"}, changed.Leaf.DNSNames)
	sameCA, err := CA(dir)
	require.NoError(t, err)
	require.Equal(t, ca, sameCA, "the CA stays")

	_, err = Ensure(dir, names, now.Add(11*365*24*time.Hour))
	require.ErrorIs(t, err, ErrCAExpired)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "server.pem"), []byte("junk"), 0o600))
	_, err = Ensure(dir, names, now)
	require.NoError(t, err, "a broken server certificate is made anew")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("junk"), 0o600))
	_, err = Ensure(dir, names, now)
	require.Error(t, err, "a broken CA is not replaced behind the operator's back")
}
