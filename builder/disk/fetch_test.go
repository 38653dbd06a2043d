// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

func fetched(t *testing.T, c Config) (path, source string, err error) {
	t.Helper()
	state := new(multistep.BasicStateBag)
	f := &flow{config: &c}
	err = f.fetch(t.Context(), &step.Job{State: state, UI: &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard, PB: &packersdk.NoopProgressTracker{}}})
	if err == nil {
		path, _ = keyInput.Get(state)
		source, _ = keySource.Get(state)
	}
	return path, source, err
}

func TestFetch(t *testing.T) {
	t.Setenv("PACKER_CACHE_DIR", t.TempDir())
	data := bytes.Repeat([]byte("a disk "), 1<<16)
	digest := sha256.Sum256(data)
	sum := hex.EncodeToString(digest[:])
	var broken, ranges atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("/disk.raw", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			ranges.Add(1)
		}
		if r.Method == http.MethodGet && broken.CompareAndSwap(1, 2) {
			w.Header().Set("Accept-Ranges", "bytes")
			w.Header().Set("Content-Length", "458752")
			_, _ = w.Write(data[:100000])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(data))
	})
	mux.HandleFunc("/SHA256SUMS", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("0", 64)+"  other.raw\n"+sum+"  disk.raw\n")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	here := filepath.Join(t.TempDir(), "a disk.raw")
	require.NoError(t, os.WriteFile(here, data, 0o600))

	t.Run("a local disk is used in place", func(t *testing.T) {
		for _, checksum := range []string{"none", sum, "sha256:" + sum} {
			path, source, err := fetched(t, Config{ISOURL: here, ISOChecksum: checksum})
			require.NoError(t, err)
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, data, got)
			require.Equal(t, here, source)
		}
		_, _, err := fetched(t, Config{ISOURL: here, ISOChecksum: strings.Repeat("0", 64)})
		require.ErrorContains(t, err, sum)
		require.FileExists(t, here, "a wrong checksum removes nothing of the user's")
	})
	t.Run("the second URL", func(t *testing.T) {
		path, source, err := fetched(t, Config{ISOURLs: []string{server.URL + "/nothing", server.URL + "/disk.raw"}, ISOChecksum: sum})
		require.NoError(t, err)
		require.Equal(t, server.URL+"/disk.raw", source)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, data, got)
	})
	t.Run("a download that broke goes on", func(t *testing.T) {
		c := Config{ISOURL: server.URL + "/disk.raw", ISOChecksum: "sha256:" + sum, ISOTargetPath: filepath.Join(t.TempDir(), "mine.raw")}
		broken.Store(1)
		_, _, err := fetched(t, c)
		require.Error(t, err)
		ranges.Store(0)
		path, _, err := fetched(t, c)
		require.NoError(t, err)
		require.Equal(t, c.ISOTargetPath, path)
		require.NotZero(t, ranges.Load(), "it begins where it was")
	})
	t.Run("a wrong download is not kept", func(t *testing.T) {
		c := Config{ISOURL: server.URL + "/disk.raw", ISOChecksum: strings.Repeat("0", 64), ISOTargetPath: filepath.Join(t.TempDir(), "mine.raw")}
		_, _, err := fetched(t, c)
		require.ErrorContains(t, err, sum)
		require.NoFileExists(t, c.ISOTargetPath)
	})
	t.Run("a file of checksums", func(t *testing.T) {
		got, err := checksumOf(t.Context(), server.URL+"/disk.raw", "file:"+server.URL+"/SHA256SUMS")
		require.NoError(t, err)
		require.Equal(t, "sha256:"+sum, got)
		_, err = checksumOf(t.Context(), server.URL+"/else.raw", "file:"+server.URL+"/SHA256SUMS")
		require.Error(t, err)
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := Config{ISOURL: server.URL + "/disk.raw", ISOChecksum: sum, ISOTargetPath: filepath.Join(t.TempDir(), "x")}
		_, err := c.fetchOne(ctx, c.ISOURL, nil)
		require.Error(t, err)
	})
}
