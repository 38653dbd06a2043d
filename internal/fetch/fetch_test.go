// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fetch_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
)

func content(n int) ([]byte, fetch.File) {
	data := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	sum := sha256.Sum256(data)
	return data, fetch.File{Length: int64(n), SHA256: hex.EncodeToString(sum[:])}
}

// server breaks off after some bytes, as often as it is told to.
type server struct {
	data   []byte
	breaks int
	after  int
	noSeek bool

	mu   sync.Mutex
	seen []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Header.Get("Range"))
	broken := s.breaks > 0
	s.breaks--
	s.mu.Unlock()
	if broken {
		start := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(s.data)-1, len(s.data)))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(s.data)-start))
		if start > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(s.data[start:min(start+s.after, len(s.data))])
		panic(http.ErrAbortHandler)
	}
	if s.noSeek {
		_, _ = w.Write(s.data)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

func client(t *testing.T, o fetch.Options) *fetch.Client {
	t.Helper()
	c, err := fetch.New(o)
	require.NoError(t, err)
	return c
}

func TestResume(t *testing.T) {
	data, want := content(300_000)
	for name, s := range map[string]*server{
		"whole":    {data: data},
		"breaks":   {data: data, breaks: 3, after: 70_000},
		"no range": {data: data, breaks: 1, after: 70_000, noSeek: true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(s)
			defer srv.Close()
			path := filepath.Join(t.TempDir(), "file")
			require.NoError(t, client(t, fetch.Options{}).Download(context.Background(), path, want, 0o600, srv.URL+"/none-of-it"))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, data, got)
			require.NoFileExists(t, path+fetch.PartSuffix)
			n := len(s.seen)
			require.NoError(t, client(t, fetch.Options{}).Download(context.Background(), path, want, 0o600, srv.URL))
			require.Len(t, s.seen, n, "a whole file is not fetched again")
			if name == "breaks" {
				require.Equal(t, []string{"", "bytes=70000-", "bytes=140000-", "bytes=210000-"}, s.seen)
			}
		})
	}
}

// TestResumeElsewhere: a part from a bad mirror costs one more download, no more.
func TestResumeElsewhere(t *testing.T) {
	data, want := content(100_000)
	good, bad := httptest.NewServer(&server{data: data}), httptest.NewServer(&server{data: bytes.ToUpper(data)})
	defer good.Close()
	defer bad.Close()
	path := filepath.Join(t.TempDir(), "file")
	c := client(t, fetch.Options{})
	require.ErrorIs(t, c.Download(context.Background(), path, want, 0o600, bad.URL), fetch.ErrDigest)
	require.NoFileExists(t, path)
	require.NoError(t, os.WriteFile(path+fetch.PartSuffix, bytes.Repeat([]byte("x"), 50_000), 0o600))
	require.NoError(t, c.Download(context.Background(), path, want, 0o600, good.URL))
	require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
	require.NoError(t, c.Download(context.Background(), path, want, 0o600, bad.URL, good.URL))
	sum, err := fetch.Digest(path)
	require.NoError(t, err)
	require.Equal(t, want.SHA256, sum)
}

func TestRefusals(t *testing.T) {
	data, want := content(1000)
	long := httptest.NewServer(&server{data: append(bytes.Clone(data), '!')})
	defer long.Close()
	short := httptest.NewServer(&server{data: data[:500]})
	defer short.Close()
	c := client(t, fetch.Options{})
	path := filepath.Join(t.TempDir(), "file")
	require.ErrorIs(t, c.Download(context.Background(), path, want, 0o600, long.URL), fetch.ErrTooLong)
	require.Error(t, c.Download(context.Background(), path, want, 0o600, short.URL))
	require.ErrorIs(t, c.Download(context.Background(), path, fetch.File{Length: 1 << 60, SHA256: want.SHA256}, 0o600, long.URL), fetch.ErrSpace)
	var status *fetch.StatusError
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	require.ErrorAs(t, c.Download(context.Background(), path, want, 0o600, missing.URL+"/a", missing.URL+"/b"), &status)
	require.ErrorIs(t, c.Download(context.Background(), path, want, 0o600, "ftp://x/y"), fetch.ErrURL)
	require.NoFileExists(t, path)
}

func TestProxy(t *testing.T) {
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.URL.String())
		_, _ = w.Write([]byte("by proxy"))
	}))
	defer proxy.Close()
	address := strings.TrimPrefix(proxy.URL, "http://")
	c := client(t, fetch.Options{Proxy: address, NoProxy: "direct.example,.inside"})
	got, err := c.Get(context.Background(), "http://mirror.example/x", 100)
	require.NoError(t, err)
	require.Equal(t, "by proxy", string(got))
	for _, direct := range []string{"http://direct.example/", "http://a.inside/", "http://169.254.169.254:1/"} {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, err = c.Get(ctx, direct, 100)
		cancel()
		require.Error(t, err)
	}
	require.Equal(t, []string{"http://mirror.example/x"}, seen)
	_, err = fetch.New(fetch.Options{Proxy: "::user:secret@"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

// A server with a certificate of its own is trusted with its CA only.
func TestCustomCA(t *testing.T) {
	srv := httptest.NewTLSServer(&server{data: []byte("x")})
	defer srv.Close()
	_, err := client(t, fetch.Options{}).Get(context.Background(), srv.URL, 10)
	require.ErrorContains(t, err, "certificate")
	ca := pemOf(srv.Certificate().Raw)
	got, err := client(t, fetch.Options{CA: ca}).Get(context.Background(), srv.URL, 10)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
	_, err = fetch.New(fetch.Options{CA: []byte("nonsense")})
	require.Error(t, err)
}

func TestRedirects(t *testing.T) {
	plain := httptest.NewServer(&server{data: []byte("x")})
	defer plain.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer secure.Close()
	c := client(t, fetch.Options{CA: pemOf(secure.Certificate().Raw)})
	_, err := c.Get(context.Background(), secure.URL, 10)
	require.ErrorContains(t, err, "from https to http")
}

// bucket answers to signed requests only.
type bucket struct {
	t    *testing.T
	seen []*http.Request
	skew time.Duration
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.seen = append(b.seen, r)
	w.Header().Set("Date", time.Now().Add(b.skew).UTC().Format(http.TimeFormat))
	if !strings.Contains(r.Header.Get("Authorization"), "Credential=AKID/") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_, _ = w.Write([]byte("from the bucket"))
}

type role struct{ asked int }

func (r *role) Credentials(context.Context) (aws.Credentials, error) {
	r.asked++
	return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "token"}, nil
}
func (*role) Region(context.Context) (string, error) { return "eu-west-1", nil }

func TestBucket(t *testing.T) {
	b := &bucket{t: t, skew: -365 * 24 * time.Hour}
	srv := httptest.NewServer(b)
	defer srv.Close()
	r := &role{}
	c := client(t, fetch.Options{Role: r})
	address := fetch.Join("s3://packages/rightlink?endpoint="+srv.URL, "metadata/timestamp.json")
	for range 2 {
		got, err := c.Get(context.Background(), address, 100)
		require.NoError(t, err)
		require.Equal(t, "from the bucket", string(got))
	}
	require.Equal(t, 1, r.asked, "credentials are kept")
	require.Equal(t, "/packages/rightlink/metadata/timestamp.json", b.seen[0].URL.Path)
	require.Empty(t, b.seen[0].Header.Get("Authorization"), "anonymous first")
	signed := b.seen[1].Header
	require.Contains(t, signed.Get("Authorization"), "/eu-west-1/s3/aws4_request")
	require.Equal(t, "token", signed.Get("X-Amz-Security-Token"))
	require.True(t, strings.HasPrefix(signed.Get("X-Amz-Date"), time.Now().Add(b.skew).UTC().Format("2006")), "signed with the server's clock")
	// Without a role, the refusal stands.
	var status *fetch.StatusError
	_, err := client(t, fetch.Options{}).Get(context.Background(), address, 100)
	require.ErrorAs(t, err, &status)
	// Web servers never see a signature.
	_, err = c.Get(context.Background(), srv.URL, 100)
	require.ErrorAs(t, err, &status)
}

func TestInstanceRole(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]string{
			"PUT /latest/api/token":                              "t",
			"GET /latest/meta-data/iam/security-credentials/":    "web\n",
			"GET /latest/meta-data/iam/security-credentials/web": `{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"s","Token":"t","Expiration":"2030-01-01T00:00:00Z"}`,
			"GET /latest/meta-data/placement/region":             "eu-west-1",
		}
		body, ok := answers[r.Method+" "+r.URL.Path]
		if !ok || r.Method == http.MethodGet && r.Header.Get("X-aws-ec2-metadata-token") != "t" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	key, err := fetch.InstanceRole{Endpoint: srv.URL}.Credentials(context.Background())
	require.NoError(t, err)
	require.Equal(t, "AKID", key.AccessKeyID)
	require.True(t, key.CanExpire)
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	_, err = fetch.InstanceRole{Endpoint: none.URL}.Credentials(context.Background())
	require.True(t, errors.Is(err, fetch.ErrNoRole))
}
