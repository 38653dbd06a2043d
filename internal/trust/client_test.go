// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// The old root's key alone cannot make a new root once it was replaced, and a
// root that the old one did not sign is refused.
func TestRootRotation(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.repo.Rotate("root", "targets", "snapshot", "timestamp"))
	require.NoError(t, w.repo.Rotate("root"))
	cat, err := w.refresh()
	require.NoError(t, err)
	require.Equal(t, int64(3), cat.Root)

	// The mirror hides the new roots: metadata of the new keys does not fit the
	// old one for a new client, and one who knows the new root stays with it.
	hide := func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".root.json") {
			http.NotFound(rw, r)
			return true
		}
		return false
	}
	w.answer = hide
	cat, err = w.refresh()
	require.NoError(t, err)
	require.Equal(t, int64(3), cat.Root)
	w.client.Dir = t.TempDir()
	w.refused("valid signatures")

	// A foreign root in between.
	foreign := newWorld(t)
	require.NoError(t, foreign.repo.Rotate("root"))
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/2.root.json") {
			_, _ = rw.Write(foreign.read("2.root.json"))
			return true
		}
		return false
	}
	w.refused("valid signatures")
	w.answer = nil
	w.client.Root = []byte("{}")
	_, err = w.refresh()
	require.ErrorIs(t, err, trust.ErrRoot)
}

// A bucket that may not be listed says 403 for the root that is not there.
func TestForbiddenRoot(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/2.root.json") {
			rw.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	}
	_, err := w.refresh()
	require.NoError(t, err)
}

// Files that a power cut has torn do not lock the client out.
func TestTornState(t *testing.T) {
	w := newWorld(t)
	files, err := filepath.Glob(filepath.Join(w.client.Dir, "*", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 3, "timestamp, snapshot, targets")
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(f, data[:len(data)/2], 0o600))
		_, err = w.refresh()
		require.NoError(t, err, f)
		require.NoError(t, os.WriteFile(f, nil, 0o600))
		_, err = w.refresh()
		require.NoError(t, err, f)
	}
}

func TestMirrorDown(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	_, err := w.refresh()
	require.Error(t, err)
	require.NotErrorIs(t, err, trust.ErrRefused)
	require.False(t, errors.Is(err, trust.ErrRoot))
}
