// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// acmeServer is a certificate authority that speaks ACME (RFC 8555), as far as
// one order with one name and TLS-ALPN-01 (RFC 8737) goes. It calls the platform
// to see whether that answers for the name.
type acmeServer struct {
	t        *testing.T
	http     *httptest.Server
	key      *ecdsa.PrivateKey
	ca       *x509.Certificate
	platform string // where names lead to

	mu     sync.Mutex
	name   string
	thumb  string // of the account's key
	valid  bool
	why    error
	chain  []byte
	orders int
}

const acmeToken = "a-token-of-the-test"

func startACME(t *testing.T) *acmeServer {
	t.Helper()
	s := &acmeServer{t: t}
	var err error
	s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ACME test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.key.Public(), s.key)
	require.NoError(t, err)
	s.ca, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	s.http = httptest.NewTLSServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// ServeHTTP is the table of contents. Signatures of requests are not looked at:
// they are the library's business.
func (s *acmeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Replay-Nonce", "nonce")
	at := func(path string) string { return s.http.URL + path }
	var body struct{ Protected, Payload string }
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	order := map[string]any{"status": map[bool]string{false: "pending", true: "ready"}[s.valid], "identifiers": []map[string]string{{"type": "dns", "value": s.name}},
		"authorizations": []string{at("/authz")}, "finalize": at("/finalize")}
	if s.chain != nil {
		order["status"], order["certificate"] = "valid", at("/cert")
	}
	switch r.URL.Path {
	case "/":
		s.answer(w, 200, map[string]any{"newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order"), "revokeCert": at("/revoke"), "keyChange": at("/key")})
	case "/nonce":
		w.WriteHeader(http.StatusOK)
	case "/account":
		s.account(body.Protected)
		w.Header().Set("Location", at("/account/1"))
		s.answer(w, 201, map[string]any{"status": "valid"})
	case "/order":
		s.ordered(body.Payload)
		order["identifiers"] = []map[string]string{{"type": "dns", "value": s.name}}
		w.Header().Set("Location", at("/order/1"))
		s.answer(w, 201, order)
	case "/order/1":
		s.answer(w, 200, order)
	case "/authz":
		s.answer(w, 200, map[string]any{"status": map[bool]string{false: "pending", true: "valid"}[s.valid], "identifier": map[string]string{"type": "dns", "value": s.name},
			"challenges": []map[string]string{{"type": "tls-alpn-01", "url": at("/challenge"), "token": acmeToken, "status": "pending"}}})
	case "/challenge":
		s.why = s.ask()
		s.valid = s.why == nil
		s.answer(w, 200, map[string]string{"type": "tls-alpn-01", "url": at("/challenge"), "token": acmeToken, "status": map[bool]string{false: "invalid", true: "valid"}[s.valid]})
	case "/finalize":
		s.issue(body.Payload)
		order["status"], order["certificate"] = "valid", at("/cert")
		w.Header().Set("Location", at("/order/1"))
		s.answer(w, 200, order)
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(s.chain)
	default:
		http.Error(w, "no such thing: "+r.URL.Path, http.StatusNotFound)
	}
}

func (s *acmeServer) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *acmeServer) decode(text string, into any) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(raw) > 0 {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// account notes the thumbprint of the account's key.
func (s *acmeServer) account(protected string) {
	var header struct {
		JWK struct{ X, Y string } `json:"jwk"`
	}
	s.decode(protected, &header)
	point := []byte{4} // not compressed
	for _, text := range []string{header.JWK.X, header.JWK.Y} {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			s.t.Error(err)
		}
		point = append(point, raw...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err == nil {
		s.thumb, err = acme.JWKThumbprint(key)
	}
	if err != nil {
		s.t.Error(err)
	}
}

func (s *acmeServer) ordered(payload string) {
	var order struct {
		Identifiers []struct{ Value string } `json:"identifiers"`
	}
	s.decode(payload, &order)
	if len(order.Identifiers) == 1 {
		s.name = order.Identifiers[0].Value
	}
	s.orders++
}

// ask sees whether the platform answers the challenge.
func (s *acmeServer) ask() error {
	conn, err := tls.Dial("tcp", s.platform, &tls.Config{ServerName: s.name, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != acme.ALPNProto {
		return fmt.Errorf("the protocol is %q", state.NegotiatedProtocol)
	}
	sum := sha256.Sum256([]byte(acmeToken + "." + s.thumb))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	leaf := state.PeerCertificates[0]
	for _, ext := range leaf.Extensions {
		if ext.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && string(ext.Value) == string(want) && leaf.VerifyHostname(s.name) == nil {
			return nil
		}
	}
	return errors.New("the certificate does not answer the challenge")
}

func (s *acmeServer) issue(payload string) {
	var body struct{ CSR string }
	s.decode(payload, &body)
	raw, err := base64.RawURLEncoding.DecodeString(body.CSR)
	if err != nil {
		s.t.Error(err)
		return
	}
	csr, err := x509.ParseCertificateRequest(raw)
	if err != nil || !s.valid {
		s.t.Error("finalized too early", err, s.why)
		return
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(60 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, s.ca, csr.PublicKey, s.key)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// replica answers TLS as "serve" does with --acme-email.
func (s *acmeServer) replica(f *fleet.Service) (address string) {
	t := s.t
	t.Helper()
	pemFile := filepath.Join(t.TempDir(), "acme-ca.pem")
	require.NoError(t, os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}), 0o600))
	o := &tlsOptions{email: "ops@example.net", directory: s.http.URL, authority: pemFile}
	change, err := o.acme(f, nil, []string{"rs.example.net:443"})
	require.NoError(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	change(srv.TLS)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// handshake asks for a name and verifies the certificate.
func (s *acmeServer) handshake(address, name string) error {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", address, &tls.Config{ServerName: name, RootCAs: pool, MinVersion: tls.VersionTLS12})
	if err != nil {
		return err
	}
	return conn.Close()
}

// The platform gets a certificate from an ACME server when somebody first asks
// for its name, by answering the challenge itself; another replica on the same
// database has it without asking again.
func TestACME(t *testing.T) {
	f, err := fleet.Open(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	s := startACME(t)
	s.platform = s.replica(f)
	require.NoError(t, s.handshake(s.platform, "rs.example.net"))
	require.NoError(t, s.why)
	require.True(t, s.valid)
	require.Equal(t, 1, s.orders)
	require.NoError(t, s.handshake(s.platform, "rs.example.net"))
	require.NoError(t, s.handshake(s.replica(f), "rs.example.net"), "another replica")
	require.Equal(t, 1, s.orders)

	// What lies in the database does not give the key away.
	sealed, err := f.DB.AcmeItem(t.Context(), "rs.example.net")
	require.NoError(t, err)
	require.False(t, strings.Contains(string(sealed), "PRIVATE KEY"))
}
