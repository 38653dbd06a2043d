// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme/autocert"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// writeCertificate puts a self-signed certificate for names into two files.
func writeCertificate(t *testing.T, cert, key string, serial int64, names ...string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyRaw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyRaw}), 0o600))
}

// shown is the serial number of the certificate that a client gets who asks for
// a name.
func shown(t *testing.T, c *tls.Config, name string) int64 {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	require.NoError(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// The certificate of the files is for its own names, the platform's for all
// others, and a new file is taken without a restart; a broken one is not.
func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key, 7, "rs.example.net")
	now := time.Now()
	files := &certFiles{cert: cert, key: key, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	require.NoError(t, files.load())
	own := &certKeeper{dir: filepath.Join(dir, "tls"), names: []string{"localhost", "127.0.0.1"}}
	c := &tls.Config{GetCertificate: getCertificate(files, own)}
	require.Equal(t, int64(7), shown(t, c, "rs.example.net"))
	require.NotEqual(t, int64(7), shown(t, c, "localhost"))
	require.NotEqual(t, int64(7), shown(t, c, "127.0.0.1"), "an address is no name")

	writeCertificate(t, cert, key, 8, "rs.example.net")
	require.NoError(t, os.Chtimes(cert, now, now.Add(time.Second)))
	require.Equal(t, int64(7), shown(t, c, "rs.example.net"), "the files are not looked at all the time")
	now = now.Add(certFilesEvery)
	require.Equal(t, int64(8), shown(t, c, "rs.example.net"))
	require.NoError(t, os.WriteFile(key, []byte("half a key"), 0o600))
	require.NoError(t, os.Chtimes(key, now, now.Add(2*time.Second)))
	now = now.Add(certFilesEvery)
	require.Equal(t, int64(8), shown(t, c, "rs.example.net"))
}

// What ACME keeps lies sealed in the database, where all replicas find it.
func TestAcmeCache(t *testing.T) {
	ctx := context.Background()
	s, err := fleet.Open(ctx, t.TempDir())
	require.NoError(t, err)
	defer s.Close()
	cache := acmeCache{s}
	_, err = cache.Get(ctx, "rs.example.net")
	require.ErrorIs(t, err, autocert.ErrCacheMiss)
	require.NoError(t, cache.Put(ctx, "rs.example.net", []byte("secret key")))
	require.NoError(t, cache.Put(ctx, "rs.example.net", []byte("newer key")))
	got, err := cache.Get(ctx, "rs.example.net")
	require.NoError(t, err)
	require.Equal(t, "newer key", string(got))
	sealed, err := s.DB.AcmeItem(ctx, "rs.example.net")
	require.NoError(t, err)
	require.NotContains(t, string(sealed), "newer key")
	require.NoError(t, cache.Delete(ctx, "rs.example.net"))
	require.NoError(t, cache.Delete(ctx, "rs.example.net"))
	_, err = cache.Get(ctx, "rs.example.net")
	require.ErrorIs(t, err, autocert.ErrCacheMiss)
}

// With ACME, the names of --hostname are asked for, and no others.
func TestAcmeNames(t *testing.T) {
	s, err := fleet.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	defer s.Close()
	// Nobody listens there, so that getting a certificate fails at once.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	o := tlsOptions{email: "me@example.net", directory: "http://" + l.Addr().String() + "/directory"}
	own := &certKeeper{dir: filepath.Join(t.TempDir(), "tls"), names: []string{"localhost"}}
	change, err := o.config(s, own, []string{"rs.example.net:8443", "10.0.0.1"}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	c := &tls.Config{}
	change(c)
	require.Contains(t, c.NextProtos, "acme-tls/1")
	hello := func(name string) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{"http/1.1"}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}}
	}
	_, err = c.GetCertificate(hello("rs.example.net"))
	require.ErrorContains(t, err, "connection refused")
	cert, err := c.GetCertificate(hello("other.example.net"))
	require.NoError(t, err)
	require.NoError(t, cert.Leaf.VerifyHostname("localhost"))
}
