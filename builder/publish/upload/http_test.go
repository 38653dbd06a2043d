// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// serve makes the service available over HTTP.
func serve(t testing.TB, s *service) *httptest.Server {
	t.Helper()
	pool := sync.Pool{New: func() any { b := make([]byte, s.blockSize); return &b }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		var reply any = struct{}{}
		var err error
		switch {
		case r.Method == http.MethodPut && len(parts) == 4:
			buf := pool.Get().(*[]byte)
			defer pool.Put(buf)
			var v verdict
			if v, err = s.putHTTP(r, parts[1], parts[3], *buf); v != fine {
				cutOrRefuse(w, v)
				return
			}
			if err == nil {
				w.WriteHeader(http.StatusCreated)
				return
			}
		case len(parts) == 1:
			var in ebs.StartSnapshotInput
			if err = json.NewDecoder(r.Body).Decode(&in); err == nil {
				var out *ebs.StartSnapshotOutput
				if out, err = s.start(&in); err == nil {
					reply = map[string]any{"SnapshotId": *out.SnapshotId, "BlockSize": *out.BlockSize}
				}
			}
		default:
			var n int
			n, err = strconv.Atoi(r.Header.Get("X-Amz-Changedblockscount"))
			err = errors.Join(err, s.complete(parts[2], int32(n), r.Header.Get("X-Amz-Checksum")))
		}
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply)
	}))
	t.Cleanup(server.Close)
	return server
}

// putHTTP reads and keeps a block.
func (s *service) putHTTP(r *http.Request, id, index string, buf []byte) (verdict, error) {
	if got := r.Header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
		return fine, errors.New("the client hashes blocks a second time: " + got)
	}
	i, err := strconv.ParseInt(index, 10, 64)
	if err != nil {
		return fine, err
	}
	if n, err := io.ReadFull(r.Body, buf); err != nil {
		return broken, errors.New("the body ends after " + strconv.Itoa(n))
	}
	return s.put(r.Context(), id, i, buf, r.Header.Get("X-Amz-Checksum"))
}

func cutOrRefuse(w http.ResponseWriter, v verdict) {
	switch v {
	case throttled:
		w.Header().Set("X-Amzn-Errortype", "RequestThrottledException")
		w.WriteHeader(http.StatusBadRequest)
	case broken:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok && v == reset {
			_ = tcp.SetLinger(0) // the client gets a reset
		}
		_ = conn.Close()
	}
}

func refuse(w http.ResponseWriter, err error) {
	var api smithy.APIError
	if errors.As(err, &api) {
		w.Header().Set("X-Amzn-Errortype", api.ErrorCode())
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// client is the client that the product uses.
func client(t testing.TB, endpoint string) *ebs.Client {
	t.Helper()
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EBS", "AWS_PROFILE", "HTTP_PROXY", "http_proxy"} {
		old, was := os.LookupEnv(name)
		if !was {
			continue
		}
		require.NoError(t, os.Unsetenv(name))
		t.Cleanup(func() { _ = os.Setenv(name, old) })
	}
	f, err := awsx.New(t.Context(), awsx.Config{Region: "us-east-1", AccessKey: "AKIATEST", SecretKey: "hush", EndpointURL: endpoint})
	require.NoError(t, err)
	return f.EBS("us-east-1")
}

var _ Writer = (*ebs.Client)(nil)
var _ Reader = (*ebs.Client)(nil)
