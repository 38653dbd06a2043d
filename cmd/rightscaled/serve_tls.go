// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// tlsOptions say where the certificate for the public name comes from. The
// platform's own certificate stays for all other names, such as the address of
// the platform inside "rightimage local".
type tlsOptions struct {
	cert, key                   string
	email, directory, authority string
}

func (o *tlsOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.cert, "tls-cert", "", "PEM `file` with a certificate and its chain, for its names; read again when it changes")
	f.StringVar(&o.key, "tls-key", "", "PEM `file` with the key of --tls-cert")
	f.StringVar(&o.email, "acme-email", "", "get certificates for the host names of --hostname by ACME (TLS-ALPN-01, which needs port 443); `address` of the account")
	f.StringVar(&o.directory, "acme-directory", autocert.DefaultACMEDirectory, "`URL` of the ACME server")
	f.StringVar(&o.authority, "acme-ca", "", "PEM `file` with the CA of an ACME server of your own")
}

func (o *tlsOptions) check() error {
	switch {
	case (o.cert == "") != (o.key == ""):
		return errors.New("--tls-cert and --tls-key belong together; give both")
	case o.cert != "" && o.email != "":
		return errors.New("--acme-email: leave it out, or --tls-cert and --tls-key")
	}
	return nil
}

// config returns what to change in the server's settings; nil for nothing.
func (o *tlsOptions) config(s *fleet.Service, own *certKeeper, hostnames []string, log *slog.Logger) (func(*tls.Config), error) {
	switch {
	case o.cert != "":
		files := &certFiles{cert: o.cert, key: o.key, log: log, now: time.Now}
		if err := files.load(); err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		return func(c *tls.Config) { c.GetCertificate = getCertificate(files, own) }, nil
	case o.email != "":
		return o.acme(s, own, hostnames)
	}
	return nil, nil //nolint:nilnil // the platform's own certificate
}

// getCertificate chooses between the files' certificate and the platform's own.
func getCertificate(files *certFiles, own *certKeeper) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert := files.get(); fits(hello, cert) {
			return cert, nil
		}
		return own.get()
	}
}

// fits tells whether a certificate is for the name that the client asks for; one
// that names none has called an address.
func fits(hello *tls.ClientHelloInfo, cert *tls.Certificate) bool {
	if hello.ServerName == "" {
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		return err == nil && cert.Leaf.VerifyHostname(host) == nil
	}
	return hello.SupportsCertificate(cert) == nil
}

// certFilesEvery is how often the files are looked at.
const certFilesEvery = 10 * time.Second

// certFiles is a certificate in files that somebody else renews.
type certFiles struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	loaded  *tls.Certificate
	changed [2]time.Time
	looked  time.Time
}

func (f *certFiles) load() error {
	var changed [2]time.Time
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		changed[i] = info.ModTime()
	}
	if f.loaded != nil && changed == f.changed {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.loaded, f.changed = &cert, changed
	return nil
}

// get returns the newest certificate that could be read.
func (f *certFiles) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= certFilesEvery {
		f.looked = now
		if err := f.load(); err != nil {
			f.log.Error("the certificate's files cannot be read; the old one stays", "error", err)
		}
	}
	return f.loaded
}

func (o *tlsOptions) acme(s *fleet.Service, own *certKeeper, hostnames []string) (func(*tls.Config), error) {
	var names []string
	for _, h := range hostnames {
		if name, _, err := net.SplitHostPort(h); err == nil {
			h = name
		}
		if net.ParseIP(h) == nil {
			names = append(names, h)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("--acme-email: certificates are for host names; give one with --hostname")
	}
	client := &acme.Client{DirectoryURL: o.directory}
	if o.authority != "" {
		pem, err := os.ReadFile(o.authority)
		if err != nil {
			return nil, fmt.Errorf("--acme-ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--acme-ca %s: it holds no certificate", o.authority)
		}
		client.HTTPClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	}
	m := &autocert.Manager{Prompt: autocert.AcceptTOS, Email: o.email, HostPolicy: autocert.HostWhitelist(names...), Cache: acmeCache{s}, Client: client}
	return func(c *tls.Config) {
		c.NextProtos = append(c.NextProtos, "h2", "http/1.1", acme.ALPNProto)
		c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if slices.Contains(names, hello.ServerName) {
				return m.GetCertificate(hello)
			}
			return own.get()
		}
	}, nil
}

// acmeCache keeps what ACME needs in the database, sealed: so any replica can
// answer the challenge that another has asked for, and all have one certificate.
type acmeCache struct{ fleet *fleet.Service }

func acmePlace(name string) string { return "acme " + name }

// Get reads an item.
func (c acmeCache) Get(ctx context.Context, name string) ([]byte, error) {
	sealed, err := c.fleet.DB.AcmeItem(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, autocert.ErrCacheMiss
	}
	if err != nil {
		return nil, err
	}
	plain, err := c.fleet.Keys.Open(acmePlace(name), sealed)
	return []byte(plain), err
}

// Put writes an item.
func (c acmeCache) Put(ctx context.Context, name string, data []byte) error {
	return c.fleet.DB.PutAcmeItem(ctx, name, c.fleet.Keys.Seal(acmePlace(name), string(data)))
}

// Delete removes an item.
func (c acmeCache) Delete(ctx context.Context, name string) error {
	return c.fleet.DB.DeleteAcmeItem(ctx, name)
}
