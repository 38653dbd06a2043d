// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quiet is for servers whose clients refuse them.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// at limits an answer to paths that end so.
func at(suffix string, a answer) answer {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, suffix) && a(w, r)
	}
}

// code answers with a status, and headers in pairs.
func code(status int, headers ...string) answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		return true
	}
}

// text answers 200 with a body, as a captive portal does.
func text(body string) answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = fmt.Fprint(w, body)
		return true
	}
}

// half breaks off within a body that was announced longer.
func half(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Length", "1000")
	_, _ = fmt.Fprint(w, `{"half":`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// hang takes the request and says nothing.
func hang(_ http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body) // with it unread, the end of the client is not seen
	<-r.Context().Done()
	return true
}

// drip sends a byte now and then.
func drip(w http.ResponseWriter, r *http.Request) bool {
	_, _ = io.Copy(io.Discard, r.Body)
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(" ")); err != nil {
			break
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(500 * time.Millisecond)
	}
	return true
}

// endless sends for as long as somebody reads.
func endless(w http.ResponseWriter, _ *http.Request) bool {
	chunk := []byte(strings.Repeat("x", 64<<10))
	for {
		if _, err := w.Write(chunk); err != nil {
			return true
		}
	}
}

// circle redirects to another path of the same server, for ever.
func circle(w http.ResponseWriter, r *http.Request) bool {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	http.Redirect(w, r, scheme+r.Host+r.URL.Path+"?n="+strconv.Itoa(n+1), http.StatusFound)
	return true
}

// authority signs the certificate of a server, valid between two times, and
// returns it and the PEM of the authority. A clock that is off by a year looks
// the same from the machine: certificates end, or begin, a year away.
func authority(t *testing.T, from, to time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	year := 365 * 24 * time.Hour
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-2 * year), NotAfter: time.Now().Add(5 * year), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, certificate(der)
}

// Clocks that are a year off, as the validity of a certificate shows them.
func aYearAhead() (from, to time.Time) {
	now := time.Now()
	return now.Add(-8760 * time.Hour), now.Add(-24 * time.Hour)
}

func aYearBehind() (from, to time.Time) {
	now := time.Now()
	return now.Add(8760 * time.Hour), now.Add(2 * 8760 * time.Hour)
}

// secured serves a service with such a certificate.
func secured(t *testing.T, h http.Handler, from, to time.Time) (url, ca string) {
	t.Helper()
	cert, ca := authority(t, from, to)
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quiet()
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, ca
}
