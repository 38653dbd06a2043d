// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
)

// cloud issues documents as the local cloud does.
func cloud(t *testing.T, dir string, i imds.Instance) (document, signature, certificate string) {
	t.Helper()
	authority, err := imds.OpenAuthority(dir)
	require.NoError(t, err)
	certificate = filepath.Join(dir, "certificate.pem")
	require.NoError(t, os.WriteFile(certificate, authority.Certificate(), 0o600))
	document, signature, err = authority.Document(i)
	require.NoError(t, err)
	return document, signature, certificate
}

func example() imds.Instance {
	return imds.Instance{ID: "i-0123456789abcdef0", ImageID: "ami-0a", Account: "123456789012", Region: "eu-west-1", AvailabilityZone: "eu-west-1a",
		LaunchTime: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}
}

func TestOpen(t *testing.T) {
	document, signature, certificate := cloud(t, t.TempDir(), example())
	trust := Trust{Files: []string{certificate}}
	d, err := trust.Open(document, signature)
	require.NoError(t, err)
	require.Equal(t, Document{AccountID: "123456789012", Region: "eu-west-1", ImageID: "ami-0a", InstanceID: "i-0123456789abcdef0",
		PendingTime: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}, d)

	other := example()
	other.ID = "i-0fedcba987654321f"
	otherDocument, otherSignature, otherCertificate := cloud(t, t.TempDir(), other)
	for name, tc := range map[string]struct {
		document, signature string
		want                error
	}{
		"changed document":    {strings.Replace(document, "i-0123456789abcdef0", "i-0123456789abcdef1", 1), signature, ErrForged},
		"another document":    {otherDocument, signature, ErrForged},
		"another's signature": {otherDocument, otherSignature, ErrUnknown},
		"no signature":        {document, "", ErrMalformed},
		"not base64":          {document, "!!", ErrMalformed},
		"not a signature":     {document, "aGVsbG8=", ErrMalformed},
		"long":                {strings.Repeat(" ", MaxDocument+1), signature, ErrMalformed},
	} {
		_, err := trust.Open(tc.document, tc.signature)
		require.ErrorIs(t, err, tc.want, name)
	}
	_, err = Trust{Files: []string{otherCertificate}}.Open(document, signature)
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorContains(t, err, "--identity-certificates")
}

// A certificate of one region proves no document of another.
func TestRegions(t *testing.T) {
	dir := t.TempDir()
	document, signature, certificate := cloud(t, dir, example())
	text, err := os.ReadFile(certificate)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	for region, want := range map[string]error{"eu-west-1": nil, "us-east-1": ErrUnknown} {
		block.Headers = map[string]string{"Region": region}
		file := filepath.Join(dir, region)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		_, err := Trust{Files: []string{file}}.Open(document, signature)
		require.ErrorIs(t, err, want)
	}
}

func TestDocumentsNeedTheirFields(t *testing.T) {
	for name, change := range map[string]func(*imds.Instance){
		"instance": func(i *imds.Instance) { i.ID = "" },
		"account":  func(i *imds.Instance) { i.Account = "12 34" },
		"image":    func(i *imds.Instance) { i.ImageID = "ami-1\n" },
	} {
		i := example()
		change(&i)
		document, signature, certificate := cloud(t, t.TempDir(), i)
		_, err := Trust{Files: []string{certificate}}.Open(document, signature)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
}

func TestCertificatesOfAWS(t *testing.T) {
	list, err := parse(aws, func(string) bool { return true })
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, c := range list {
		require.NotEmpty(t, c.Region)
		require.False(t, seen[c.Region], c.Region)
		seen[c.Region] = true
		require.Contains(t, c.Subject.String(), "Amazon Web Services LLC", c.Region)
		require.True(t, c.NotAfter.After(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)), c.Region)
	}
	for _, region := range []string{"us-east-1", "us-west-2", "eu-central-1", "ap-southeast-1", "sa-east-1", "us-gov-west-1", "cn-north-1"} {
		require.True(t, seen[region], region)
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct{ text, want string }{
		"none":   {"hello", "no PEM certificate"},
		"key":    {"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", "want CERTIFICATE only"},
		"broken": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x509"},
	} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(tc.text), 0o600))
		err := Trust{Files: []string{file}}.Check()
		require.ErrorContains(t, err, tc.want, name)
		require.ErrorContains(t, err, file)
	}
	require.Error(t, Trust{Files: []string{filepath.Join(dir, "absent")}}.Check())
	require.NoError(t, Trust{}.Check())
}

func TestRules(t *testing.T) {
	d := Document{AccountID: "1", Region: "r", ImageID: "ami-1"}
	for name, tc := range map[string]struct {
		rules Rules
		want  string
	}{
		"none":    {Rules{}, ""},
		"all":     {Rules{Accounts: []string{"2", "1"}, Regions: []string{"r"}, Images: []string{"ami-1"}}, ""},
		"account": {Rules{Accounts: []string{"2"}}, "account 1 is not allowed"},
		"region":  {Rules{Regions: []string{"s"}}, "region r is not allowed"},
		"image":   {Rules{Images: []string{"ami-2"}}, "image ami-1 is not allowed"},
	} {
		err := tc.rules.Check(d)
		if tc.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.EqualError(t, err, tc.want, name)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add("{}", "MIAGCSqGSIb3DQEHAqCAMIACAQEx")
	f.Fuzz(func(t *testing.T, document, signature string) {
		if _, err := (Trust{}).Open(document, signature); err == nil {
			t.Error("accepted")
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	authority, err := imds.OpenAuthority(dir)
	require.NoError(b, err)
	file := filepath.Join(dir, "certificate.pem")
	require.NoError(b, os.WriteFile(file, authority.Certificate(), 0o600))
	document, signature, err := authority.Document(example())
	require.NoError(b, err)
	for b.Loop() {
		if _, err := (Trust{Files: []string{file}}).Open(document, signature); err != nil {
			b.Fatal(err)
		}
	}
}
