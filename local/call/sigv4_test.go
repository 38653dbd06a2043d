// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package call

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"
)

// signed makes a request as a server sees it, signed by the AWS SDK.
func signed(t *testing.T, target string, body []byte, at time.Time) *http.Request {
	t.Helper()
	out, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	require.NoError(t, err)
	out.Header.Set("X-Amz-Meta", "  two   spaces ")
	sum := sha256.Sum256(body)
	err = v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "sec/ret"}, out, hex.EncodeToString(sum[:]), "ec2", "eu-west-1", at)
	require.NoError(t, err)
	in := httptest.NewRequestWithContext(t.Context(), out.Method, target, bytes.NewReader(body))
	in.Header = out.Header
	return in
}

func TestVerify(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	keys := Keys{AccessKey: "AKID", Secret: "sec/ret"}
	const target = "http://127.0.0.1:4566/snapshots/snap-1/blocks/a%20b?b=2&a-b=x&a=%2F+%7E&a=1&empty="
	for name, tc := range map[string]struct {
		keys   Keys
		at     time.Time
		tamper func(r *http.Request, body []byte)
		want   error
	}{
		"good":          {keys, now, nil, nil},
		"any key":       {Keys{}, now.Add(-time.Hour), func(_ *http.Request, b []byte) { b[0]++ }, nil},
		"other key":     {Keys{AccessKey: "AKIE", Secret: "sec/ret"}, now, nil, ErrUnknown},
		"other secret":  {Keys{AccessKey: "AKID", Secret: "guess"}, now, nil, ErrMismatch},
		"other body":    {keys, now, func(_ *http.Request, b []byte) { b[0]++ }, ErrMismatch},
		"other query":   {keys, now, func(r *http.Request, _ []byte) { r.URL.RawQuery += "&c=1" }, ErrMismatch},
		"other path":    {keys, now, func(r *http.Request, _ []byte) { r.URL.Path, r.URL.RawPath = "/x", "" }, ErrMismatch},
		"other method":  {keys, now, func(r *http.Request, _ []byte) { r.Method = http.MethodPut }, ErrMismatch},
		"other header":  {keys, now, func(r *http.Request, _ []byte) { r.Header.Set("X-Amz-Meta", "else") }, ErrMismatch},
		"other host":    {keys, now, func(r *http.Request, _ []byte) { r.Host = "ec2.amazonaws.com" }, ErrMismatch},
		"claimed body":  {keys, now, func(r *http.Request, _ []byte) { r.Header.Set("X-Amz-Content-Sha256", hexSum(nil)) }, ErrMismatch},
		"too old":       {keys, now.Add(-6 * time.Minute), nil, ErrExpired},
		"too new":       {keys, now.Add(6 * time.Minute), nil, ErrExpired},
		"a little late": {keys, now.Add(-4 * time.Minute), nil, nil},
		"no date":       {keys, now, func(r *http.Request, _ []byte) { r.Header.Del("X-Amz-Date") }, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			r := signed(t, target, []byte("Action=X"), tc.at)
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			if tc.tamper != nil {
				tc.tamper(r, body)
			}
			sig, err := ParseSignature(r)
			require.NoError(t, err)
			require.Equal(t, "eu-west-1/ec2/AKID", sig.Region+"/"+sig.Service+"/"+sig.AccessKey)
			err = tc.keys.Verify(sig, r, body, now)
			require.Truef(t, errors.Is(err, tc.want), "got %v, want %v", err, tc.want)
		})
	}
}

func TestParseSignatureRefusesMalformed(t *testing.T) {
	for header, want := range map[string]error{
		"":          ErrNotSigned,
		"Basic abc": ErrMalformed,
		"AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00":                                           ErrMalformed,
		"AWS4-HMAC-SHA256 Credential=a/20260101/r/ec2/aws4_request, SignedHeaders=host, Signature=00":                   ErrMalformed,
		"AWS4-HMAC-SHA256 Credential=a/20260101//ec2/aws4_request, SignedHeaders=host, Signature=" + hexSum(nil):        ErrMalformed,
		"AWS4-HMAC-SHA256 Credential=a/20260101/r/ec2/aws4_request, SignedHeaders=x-amz-date, Signature=" + hexSum(nil): ErrMalformed,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		_, err := ParseSignature(r)
		require.ErrorIs(t, err, want, header)
	}
}

func FuzzParseSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/20260101/r/ec2/aws4_request, SignedHeaders=host, Signature=" + hexSum(nil))
	f.Add("AWS4-HMAC-SHA256 =,=,")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		r.Header["Authorization"] = []string{header}
		sig, err := ParseSignature(r)
		if err == nil && (sig.AccessKey == "" || sig.Region == "" || sig.Service == "") {
			t.Errorf("accepted an empty part: %+v", sig)
		}
	})
}
