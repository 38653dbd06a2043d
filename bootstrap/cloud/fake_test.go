// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeIMDS is a metadata service whose faults are fields.
type fakeIMDS struct {
	leaves map[string]string // path below /latest → body

	mu        sync.Mutex
	tokens    int
	valid     string
	fail      map[string][]int // path → statuses to answer first
	closeEach bool
	delay     time.Duration
	hang      bool
	dropFirst int // connections cut without an answer
	inFlight  int
	maxFlight int
	conns     map[string]bool
	proxied   bool
}

func (f *fakeIMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	if f.conns == nil {
		f.conns = map[string]bool{}
	}
	f.conns[r.RemoteAddr] = true
	f.inFlight++
	f.maxFlight = max(f.maxFlight, f.inFlight)
	f.proxied = f.proxied || r.URL.IsAbs()
	cut := f.dropFirst > 0
	f.dropFirst--
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.inFlight--; f.mu.Unlock() }()
	if cut {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
		return
	}
	if f.hang {
		<-r.Context().Done()
		return
	}
	time.Sleep(f.delay)
	if f.closeEach {
		w.Header().Set("Connection", "close")
	}
	f.answer(w, r)
}

func (f *fakeIMDS) answer(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.fail[r.URL.Path]; len(s) > 0 {
		f.fail[r.URL.Path] = s[1:]
		w.WriteHeader(s[0])
		return
	}
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.tokens++
		f.valid = fmt.Sprintf("token-%d", f.tokens)
		fmt.Fprint(w, f.valid)
		return
	}
	if r.Header.Get("X-aws-ec2-metadata-token") != f.valid || f.valid == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, ok := f.leaves[strings.TrimPrefix(r.URL.Path, "/latest/")]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	fmt.Fprint(w, body)
}

func sampleLeaves() map[string]string {
	return map[string]string{
		"user-data":                          "a=b&RS_rn_id=1",
		"meta-data/":                         "ami-id\nempty\ngone\niam/\ninstance-id\nnetwork/\nplacement/\npublic-keys/\nsecond\n../evil\n\nsecond",
		"meta-data/ami-id":                   "ami-1",
		"meta-data/empty":                    "",
		"meta-data/iam/":                     "info\nsecurity-credentials/",
		"meta-data/iam/info":                 "{}",
		"meta-data/instance-id":              "i-0123",
		"meta-data/network/":                 "interfaces/",
		"meta-data/network/interfaces/":      "macs/",
		"meta-data/network/interfaces/macs/": "02:00:00:00:00:01/\n",
		"meta-data/network/interfaces/macs/02:00:00:00:00:01/":    "mac\n",
		"meta-data/network/interfaces/macs/02:00:00:00:00:01/mac": "02:00:00:00:00:01",
		"meta-data/placement/":                  "availability-zone",
		"meta-data/placement/availability-zone": "us-east-1a",
		"meta-data/public-keys/":                "0=my key",
		"meta-data/public-keys/0/":              "openssh-key",
		"meta-data/public-keys/0/openssh-key":   "ssh-ed25519 AAAA me\n",
		"meta-data/second":                      "line 1\nline 2\n",
	}
}

func open(t testing.TB, f *fakeIMDS, o Options) Cloud {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	o.Endpoint, o.Root = srv.URL, t.TempDir()
	c, err := New("ec2", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func flat(tree *Tree) map[string]string {
	m := map[string]string{}
	tree.Walk(func(path []string, v string) { m[strings.Join(path, "/")] = v })
	return m
}
