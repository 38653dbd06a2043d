// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// certificates returns a self-signed certificate and its key, as PEM.
func certificates(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	model := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, model, model, private.Public(), private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

func TestPrepare(t *testing.T) {
	cert, key := certificates(t)
	for name, tc := range map[string]struct {
		set  map[string]any
		want []string
	}{
		"nothing":          {nil, nil},
		"unknown":          {map[string]any{"clowd": "ec2"}, []string{"clowd"}},
		"cloud":            {map[string]any{"cloud": "moon"}, []string{`cloud: "moon"`, "ec2, openstack"}},
		"mode":             {map[string]any{"mode": "x"}, []string{`mode: "x"`}},
		"version":          {map[string]any{"rightlink_version": "v1"}, []string{`rightlink_version: "v1"`}},
		"package name":     {map[string]any{"package_files": []string{"/x/agent.deb"}}, []string{"package_files", "rightlink_<version>"}},
		"package missing":  {map[string]any{"package_files": []string{"/x/rightlink_1.0_amd64.deb"}}, []string{"no such file"}},
		"package":          {map[string]any{"package_files": []string{write(t, "rightlink_1.0_amd64.deb", "x")}}, nil},
		"user":             {map[string]any{"login_user": "a b"}, []string{`login_user: "a b"`}},
		"freeze date":      {map[string]any{"freeze_date": "today"}, []string{"YYYYMMDD"}},
		"CA missing":       {map[string]any{"platform_ca_file": "/nowhere"}, []string{"platform_ca_file: "}},
		"CA is a key":      {map[string]any{"platform_ca_file": write(t, "ca", cert+key)}, []string{"PRIVATE KEY", "only certificates"}},
		"CA is no PEM":     {map[string]any{"platform_ca_file": write(t, "ca", "x")}, []string{"holds no PEM certificate"}},
		"CA":               {map[string]any{"platform_ca_file": write(t, "ca", cert)}, nil},
		"several at once":  {map[string]any{"clowd": 1, "mode": "x", "cloud": "y", "login_user": "-"}, []string{"clowd", "mode:", "cloud:", "login_user:"}},
		"use_sudo is bool": {map[string]any{"use_sudo": false}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_ = requirePrepared(t, tc.set, tc.want)
		})
	}
}

// TestEveryOptionIsUsed proves that each option is read outside of config.go's
// declaration.
func TestEveryOptionIsUsed(t *testing.T) {
	used := map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".hcl2spec.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				used[s.Sel.Name] = true
			}
			return true
		})
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		if f := reflect.TypeFor[Config]().Field(i); !f.Anonymous {
			require.True(t, used[f.Name], "option %s is read nowhere", f.Name)
		}
	}
}

// requirePrepared checks what Prepare says to some options: each of the texts,
// or nothing when there are none.
func requirePrepared(t *testing.T, set map[string]any, want []string) error {
	t.Helper()
	var p Provisioner
	err := p.Prepare(set)
	if want == nil {
		require.NoError(t, err)
	}
	for _, text := range want {
		require.ErrorContains(t, err, text)
	}
	return err
}
