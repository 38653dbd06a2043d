// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

// world is a repository, its mirror and a client that has seen its first state.
type world struct {
	t      *testing.T
	repo   *repo.Repo
	baked  []byte
	base   string
	client *trust.Client
	// answer, when it is set, answers in place of the files.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	r, err := repo.Init(t.TempDir(), repo.Keys{Dir: filepath.Join(t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(t, err)
	w := &world{t: t, repo: r}
	w.baked, err = os.ReadFile(r.RootFile())
	require.NoError(t, err)
	files := http.FileServer(http.Dir(r.Dir))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if w.answer == nil || !w.answer(rw, req) {
			files.ServeHTTP(rw, req)
		}
	}))
	t.Cleanup(srv.Close)
	w.base = srv.URL
	getter, err := fetch.New(fetch.Options{StallTime: 300 * time.Millisecond})
	require.NoError(t, err)
	w.client = &trust.Client{Root: w.baked, Dir: t.TempDir(), Get: getter}
	w.add("0.1.0")
	_, err = w.refresh()
	require.NoError(t, err)
	return w
}

func (w *world) add(version string) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "rightlink_"+version+"_amd64.deb")
	require.NoError(w.t, os.WriteFile(file, []byte("package "+version), 0o600))
	_, err := w.repo.Add([]string{file}, []string{"stable"})
	require.NoError(w.t, err)
}

func (w *world) refresh() (*trust.Catalogue, error) {
	return w.client.Refresh(context.Background(), w.base)
}

func (w *world) read(name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.repo.Dir, "metadata", name))
	require.NoError(w.t, err)
	return data
}

// snapshot is the state of a mirror as it is now, served later by replay.
func (w *world) state() map[string][]byte {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.repo.Dir, "metadata", "*.json"))
	require.NoError(w.t, err)
	state := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(w.t, err)
		state["/metadata/"+filepath.Base(f)] = data
	}
	return state
}

func (w *world) replay(state map[string][]byte) {
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		data, ok := state[r.URL.Path]
		if !ok {
			http.NotFound(rw, r)
			return true
		}
		_, _ = rw.Write(data)
		return true
	}
}

func (w *world) refused(contains string) {
	w.t.Helper()
	_, err := w.refresh()
	require.ErrorIs(w.t, err, trust.ErrRefused)
	require.ErrorContains(w.t, err, contains)
}

// An attacker changes a package's digest without the keys: arbitrary software.
func TestArbitrarySoftware(t *testing.T) {
	w := newWorld(t)
	w.add("0.2.0")
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, ".targets.json") {
			return false
		}
		text := string(w.read(filepath.Base(r.URL.Path)))
		_, _ = io.WriteString(rw, strings.Replace(text, `"version": "0.2.0"`, `"version": "9.9.9"`, 1))
		return true
	}
	w.refused("signed digest")
}

// The metadata of somebody else's repository, with keys of its own.
func TestWrongKey(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	other.add("0.3.0")
	w.replay(other.state())
	w.refused("valid signatures")
}

// An old state that was good once: rollback. TestStolenKeys has it by one who
// holds keys.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	old := w.state()
	w.add("0.2.0")
	_, err := w.refresh()
	require.NoError(t, err)
	w.replay(old)
	w.refused("a rollback")
	// A client that knows nothing yet accepts it: it cannot know better, until
	// the signature expires.
	w.client.Dir = t.TempDir()
	_, err = w.refresh()
	require.NoError(t, err)
}

// The same state for ever: freeze. Signatures expire.
func TestFreeze(t *testing.T) {
	w := newWorld(t)
	w.client.Now = func() time.Time { return time.Now().Add(repo.DefaultExpiry().Timestamp + time.Hour) }
	w.refused("timestamp.json expired")
	w.client.Dir = t.TempDir()
	w.refused("timestamp.json expired")
	require.NoError(t, w.repo.Sign())
	w.client.Now = nil
	_, err := w.refresh()
	require.NoError(t, err)
}

// Parts of different states: mix and match.
func TestMixAndMatch(t *testing.T) {
	w := newWorld(t)
	w.add("0.2.0")
	w.add("0.3.0")
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "4.targets.json") {
			_, _ = rw.Write(w.read("3.targets.json"))
			return true
		}
		return false
	}
	w.refused("digest")
	w.client.Dir = t.TempDir()
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "4.snapshot.json") {
			_, _ = rw.Write(w.read("3.snapshot.json"))
			return true
		}
		return false
	}
	w.refused("digest")
}

// A body without end.
func TestEndlessData(t *testing.T) {
	for _, name := range []string{"timestamp.json", ".snapshot.json", ".targets.json", ".root.json"} {
		w := newWorld(t)
		w.add("0.2.0")
		w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, name) {
				return false
			}
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 1000 { // 64 MB, if nobody stops it
				if _, err := rw.Write(chunk); err != nil {
					return true
				}
			}
			return true
		}
		_, err := w.refresh()
		require.ErrorIs(t, err, fetch.ErrTooLong, name)
	}
}

// A byte now and then: slow retrieval.
func TestSlowRetrieval(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
		for range 200 {
			if _, err := rw.Write([]byte(" ")); err != nil || r.Context().Err() != nil {
				return true
			}
			_ = http.NewResponseController(rw).Flush()
			time.Sleep(50 * time.Millisecond)
		}
		return true
	}
	begun := time.Now()
	_, err := w.refresh()
	require.ErrorIs(t, err, fetch.ErrStalled)
	require.Less(t, time.Since(begun), 5*time.Second)
}

// Half of a document, or something else altogether.
func TestGarbage(t *testing.T) {
	for _, name := range []string{"timestamp.json", ".snapshot.json", ".targets.json", ".root.json"} {
		for _, text := range []string{"", "{", "<html>captive portal</html>", `{"signed":{}}`, `{"signed":{"_type":"timestamp"},"signatures":[]}`} {
			w := newWorld(t)
			w.add("0.2.0")
			w.answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, name) {
					return false
				}
				_, _ = io.WriteString(rw, text)
				return true
			}
			_, err := w.refresh()
			require.Error(t, err, name+" "+text)
			w.answer = nil
			_, err = w.refresh()
			require.NoError(t, err, "and the good mirror works afterwards")
		}
	}
}
