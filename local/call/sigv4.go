// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package call

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// maxSkew is how far a client's clock may be off, as on AWS.
	maxSkew = 5 * time.Minute
)

// The ways a signature can be wrong. Services answer each in their own words.
var (
	ErrNotSigned = errors.New("request is not signed")
	ErrMalformed = errors.New("authorization header is malformed")
	ErrUnknown   = errors.New("access key is unknown")
	ErrMismatch  = errors.New("signature does not match")
	ErrExpired   = errors.New("signature has expired or is not yet valid")
)

// Signature is the content of a SigV4 Authorization header.
type Signature struct {
	AccessKey string
	Date      string // yyyymmdd
	Region    string
	Service   string

	signedHeaders []string
	signature     string
}

// ParseSignature reads the Authorization header; it checks the form only.
func ParseSignature(r *http.Request) (Signature, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Signature{}, ErrNotSigned
	}
	rest, ok := strings.CutPrefix(header, algorithm)
	if !ok {
		return Signature{}, ErrMalformed
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	// An access key never holds a slash, so the scope has exactly five parts.
	if len(scope) != 5 || scope[4] != "aws4_request" || slices.Contains(scope, "") ||
		fields["SignedHeaders"] == "" || len(fields["Signature"]) != 2*sha256.Size {
		return Signature{}, ErrMalformed
	}
	s := Signature{
		AccessKey: scope[0], Date: scope[1], Region: scope[2], Service: scope[3],
		signedHeaders: strings.Split(fields["SignedHeaders"], ";"), signature: fields["Signature"],
	}
	if !slices.Contains(s.signedHeaders, "host") {
		return Signature{}, ErrMalformed
	}
	return s, nil
}

// Keys are the credentials that the server knows. The zero value accepts any
// well-formed signature.
type Keys struct {
	AccessKey string
	Secret    secret.String
	// Derive gives the secret of a temporary access key, "" when it is none of
	// ours; may be nil.
	Derive func(accessKey string) secret.String
}

// Verify checks the signature of a request with its body at time now.
func (k Keys) Verify(s Signature, r *http.Request, body []byte, now time.Time) error {
	if k.AccessKey == "" {
		return nil
	}
	own := k.Secret
	if s.AccessKey != k.AccessKey {
		own = ""
		if k.Derive != nil {
			own = k.Derive(s.AccessKey)
		}
	}
	if own == "" {
		return ErrUnknown
	}
	date := r.Header.Get("X-Amz-Date")
	signedAt, err := time.Parse(timeFormat, date)
	if err != nil || !strings.HasPrefix(date, s.Date) {
		return ErrMalformed
	}
	if skew := now.Sub(signedAt); skew > maxSkew || skew < -maxSkew {
		return ErrExpired
	}
	payload := hexSum(body)
	if claimed := r.Header.Get("X-Amz-Content-Sha256"); claimed != "" {
		// A body in signed chunks is as good as its first signature here.
		if claimed != "UNSIGNED-PAYLOAD" && !strings.HasPrefix(claimed, "STREAMING-") && claimed != payload {
			return ErrMismatch
		}
		payload = claimed
	}
	scope := strings.Join([]string{s.Date, s.Region, s.Service, "aws4_request"}, "/")
	text := strings.Join([]string{algorithm, date, scope, hexSum([]byte(canonical(s, r, payload)))}, "\n")
	key := []byte("AWS4" + own.Reveal())
	for _, part := range []string{s.Date, s.Region, s.Service, "aws4_request"} {
		key = mac(key, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(mac(key, text))), []byte(s.signature)) {
		return ErrMismatch
	}
	return nil
}

// canonical builds the canonical request of SigV4.
func canonical(s Signature, r *http.Request, payload string) string {
	var headers strings.Builder
	for _, name := range s.signedHeaders {
		values := slices.Clone(r.Header.Values(name))
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		headers.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{
		r.Method, signedPath(s.Service, path), canonicalQuery(r.URL), headers.String(),
		strings.Join(s.signedHeaders, ";"), payload,
	}, "\n")
}

// canonicalQuery sorts by escaped key, then by escaped value.
func canonicalQuery(u *url.URL) string {
	query := u.Query()
	keys := slices.SortedFunc(maps.Keys(query), func(a, b string) int { return cmp.Compare(escape(a), escape(b)) })
	var pairs []string
	for _, k := range keys {
		values := query[k]
		slices.Sort(values)
		for _, v := range values {
			pairs = append(pairs, escape(k)+"="+escape(v))
		}
	}
	return strings.Join(pairs, "&")
}

// signedPath escapes an already escaped path once more, as every service but S3 wants.
func signedPath(service, path string) string {
	if service == "s3" {
		return path
	}
	return strings.ReplaceAll(escape(path), "%2F", "/")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
