// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMetaDataWalk(t *testing.T) {
	f := &fakeIMDS{leaves: sampleLeaves()}
	c := open(t, f, Options{Workers: 3})
	tree, err := c.MetaData(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"ami-id": "ami-1", "empty": "", "iam/info": "{}", "instance-id": "i-0123", "placement/availability-zone": "us-east-1a",
		"network/interfaces/macs/02:00:00:00:00:01/mac": "02:00:00:00:00:01",
		"public-keys/0/openssh-key":                     "ssh-ed25519 AAAA me\n", "second": "line 1\nline 2\n",
	}
	if got := flat(tree); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if v, ok := tree.Get("placement", "availability-zone"); !ok || v != "us-east-1a" {
		t.Errorf("Get: %q %v", v, ok)
	}
	if _, ok := tree.Get("placement"); ok {
		t.Error("a directory is no leaf")
	}
	if tree.Children[0].Name != "ami-id" || tree.Children[len(tree.Children)-1].Name != "second" {
		t.Error("the order of the listing is lost")
	}
	if f.maxFlight > 3 || f.tokens != 1 {
		t.Errorf("%d requests at once, %d tokens", f.maxFlight, f.tokens)
	}
	if len(f.conns) > 3 {
		t.Errorf("%d connections for 3 workers: not reused", len(f.conns))
	}
	if c.Requests() != 19 {
		t.Errorf("%d requests", c.Requests())
	}
}

func TestFaults(t *testing.T) {
	tests := map[string]*fakeIMDS{
		"service closes each connection": {closeEach: true},
		"token runs out":                 {fail: map[string][]int{"/latest/meta-data/instance-id": {401}, "/latest/meta-data/ami-id": {401}}},
		"server errors":                  {fail: map[string][]int{"/latest/meta-data/": {500, 503}, "/latest/meta-data/second": {502}}},
		"throttled":                      {fail: map[string][]int{"/latest/meta-data/second": {429, 429}}},
		"token service late":             {fail: map[string][]int{"/latest/api/token": {503, 500}}},
		"connections cut":                {dropFirst: 3},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			f.leaves = sampleLeaves()
			tree, err := open(t, f, Options{Deadline: 20 * time.Second}).MetaData(t.Context())
			if err != nil || len(flat(tree)) != 8 {
				t.Errorf("%v: %q", err, flat(tree))
			}
		})
	}
}

func TestLeaves(t *testing.T) {
	c := open(t, &fakeIMDS{leaves: sampleLeaves()}, Options{})
	if id, err := c.InstanceID(t.Context()); id != "i-0123" || err != nil {
		t.Errorf("instance id %q %v", id, err)
	}
	if key, err := c.LoginKey(t.Context()); key != "ssh-ed25519 AAAA me" || err != nil {
		t.Errorf("key %q %v", key, err)
	}
	if raw, err := c.UserData(t.Context()); string(raw) != "a=b&RS_rn_id=1" || err != nil {
		t.Errorf("user-data %q %v", raw, err)
	}
}

func TestErrors(t *testing.T) {
	tests := map[string]struct {
		f    *fakeIMDS
		want error
	}{
		"no user-data":         {&fakeIMDS{}, ErrAbsent},
		"switched off":         {&fakeIMDS{fail: map[string][]int{"/latest/api/token": {403}}}, ErrDenied},
		"no tokens":            {&fakeIMDS{fail: map[string][]int{"/latest/api/token": {404}}}, nil},
		"nobody answers":       {&fakeIMDS{hang: true}, context.DeadlineExceeded},
		"always busy":          {&fakeIMDS{fail: map[string][]int{"/latest/user-data": {503, 503, 503, 503, 503, 503, 503, 503, 503}}}, context.DeadlineExceeded},
		"too big":              {&fakeIMDS{leaves: map[string]string{"user-data": strings.Repeat("x", maxValue+1)}}, nil},
		"refused without hope": {&fakeIMDS{fail: map[string][]int{"/latest/user-data": {400}}}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			raw, err := open(t, tc.f, Options{Deadline: time.Second}).UserData(t.Context())
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("got %q, %v; want %v", raw, err, tc.want)
			}
			if tc.want == nil && errors.Is(err, ErrAbsent) {
				t.Errorf("%v must not count as absent", err)
			}
			if d := time.Since(start); d > 4*time.Second {
				t.Errorf("took %s with a deadline of 1 s", d)
			}
		})
	}
}

// TestDeadlineNamesTheCause: a bare "deadline exceeded" helps nobody.
func TestDeadlineNamesTheCause(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	c, err := New("ec2", Options{Root: t.TempDir(), Endpoint: "http://" + l.Addr().String(), Deadline: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.InstanceID(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), "instance-id") {
		t.Errorf("got %v", err)
	}
}

// TestWalkGivesUp: a leaf that never comes ends the walk at the deadline, with
// its name.
func TestWalkGivesUp(t *testing.T) {
	busy := []int{}
	for range 100 {
		busy = append(busy, http.StatusServiceUnavailable)
	}
	f := &fakeIMDS{leaves: sampleLeaves(), fail: map[string][]int{"/latest/meta-data/second": busy}}
	_, err := open(t, f, Options{Deadline: time.Second}).MetaData(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "meta-data/second") || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
}

func TestHostileTrees(t *testing.T) {
	deep := map[string]string{}
	for path, i := "meta-data/", 0; i < 20; i++ {
		deep[path] = "a/"
		path += "a/"
	}
	wide := strings.Builder{}
	for i := range maxNodes + 1 {
		fmt.Fprintf(&wide, "k%d\n", i)
	}
	for name, leaves := range map[string]map[string]string{"deep": deep, "wide": {"meta-data/": wide.String()}} {
		if _, err := open(t, &fakeIMDS{leaves: leaves}, Options{}).MetaData(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRedirectsStayOnTheService(t *testing.T) {
	var stolen string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = r.Header.Get(sessionHeader)
	}))
	defer thief.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fmt.Fprint(w, "tok")
			return
		}
		http.Redirect(w, r, thief.URL+"/x", http.StatusFound)
	}))
	defer srv.Close()
	c, _ := New("ec2", Options{Root: t.TempDir(), Endpoint: srv.URL, Deadline: time.Second})
	if _, err := c.InstanceID(t.Context()); err == nil || stolen != "" {
		t.Errorf("err %v, token sent to %q", err, stolen)
	}
}

func TestNoProxyAndEndpointVariable(t *testing.T) {
	f := &fakeIMDS{leaves: sampleLeaves()}
	srv := httptest.NewServer(f)
	defer srv.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	t.Setenv(EndpointEnv, srv.URL)
	c, _ := New("ec2", Options{Root: t.TempDir(), Deadline: 5 * time.Second})
	if id, err := c.InstanceID(t.Context()); id != "i-0123" || err != nil || f.proxied {
		t.Errorf("%q %v proxied %v", id, err, f.proxied)
	}
	real, _ := New("ec2", Options{})
	if base := real.(local).Cloud.(ec2).base; base != imdsEndpoint {
		t.Errorf("the variable must not count on a real machine, base is %s", base)
	}
}

func FuzzListing(f *testing.F) {
	for _, s := range []string{"", "a\nb/\n", "0=my key\n", "../x\n/\n.\n", "=\n0=", "02:00:00:00:00:01/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, e := range parseListing(body) {
			if e.name == "" || e.name == "." || e.name == ".." || strings.ContainsAny(e.name, "/\x00\n") {
				t.Fatalf("unsafe entry %q", e.name)
			}
		}
	})
}

// BenchmarkMetaData walks a tree as large as a real instance's, with 1 ms per
// request, kept and closed connections.
func BenchmarkMetaData(b *testing.B) {
	leaves := map[string]string{}
	var top strings.Builder
	for i := range 12 {
		fmt.Fprintf(&top, "dir%d/\nleaf%d\n", i, i)
		leaves[fmt.Sprintf("meta-data/leaf%d", i)] = "value"
		var sub strings.Builder
		for j := range 6 {
			fmt.Fprintf(&sub, "leaf%d\n", j)
			leaves[fmt.Sprintf("meta-data/dir%d/leaf%d", i, j)] = "value"
		}
		leaves[fmt.Sprintf("meta-data/dir%d/", i)] = sub.String()
	}
	leaves["meta-data/"] = top.String()
	for _, closeEach := range []bool{false, true} {
		for _, workers := range []int{1, 8} {
			b.Run(fmt.Sprintf("workers=%d,close=%v", workers, closeEach), func(b *testing.B) {
				c := open(b, &fakeIMDS{leaves: leaves, closeEach: closeEach, delay: time.Millisecond}, Options{Workers: workers})
				for b.Loop() {
					if _, err := c.MetaData(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(c.Requests())/float64(b.N), "requests/op")
			})
		}
	}
}
