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
	"os"
	"path/filepath"
	"reflect"
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
		stolen = r.Header.Get(tokenHeader)
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

func TestLocalFiles(t *testing.T) {
	const settings = "RS_rn_id=1&RS_rn_auth=x&RS_server=h&RS_account=1"
	tests := map[string]struct {
		cloud, own, extra, want string
	}{
		"cloud's":                      {cloud: settings, extra: "other=1", want: settings},
		"own file wins":                {cloud: settings, own: "mine=1", want: "mine=1"},
		"blank own file does not":      {cloud: settings, own: " \n", want: settings},
		"extra fills in":               {cloud: "role=web", extra: settings, want: settings},
		"extra without cloud's":        {extra: settings, want: settings},
		"cloud's if there is no extra": {cloud: "role=web", want: "role=web"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeIMDS{leaves: map[string]string{}}
			if tc.cloud != "" {
				f.leaves["user-data"] = tc.cloud
			}
			c := open(t, f, Options{})
			put(t, c.(local).root, "var/spool/ec2/user-data.txt", tc.own)
			put(t, c.(local).root, "var/spool/rightscale/user-data.txt", tc.extra)
			if raw, err := c.UserData(t.Context()); string(raw) != tc.want || err != nil {
				t.Errorf("got %q, %v", raw, err)
			}
		})
	}
}

func put(t *testing.T, root, path, content string) {
	t.Helper()
	if content == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNone(t *testing.T) {
	root := t.TempDir()
	c, err := New("none", Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UserData(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("user-data: %v", err)
	}
	if tree, err := c.MetaData(t.Context()); err != nil || !tree.Empty() {
		t.Errorf("metadata: %v %v", tree, err)
	}
	if _, err := c.InstanceID(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("id: %v", err)
	}
	put(t, root, "etc/machine-id", "uninitialized\n")
	if _, err := c.InstanceID(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("id: %v", err)
	}
	put(t, root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	if id, _ := c.InstanceID(t.Context()); id != "0123456789abcdef0123456789abcdef" {
		t.Errorf("id %q", id)
	}
	if tree, err := c.MetaData(t.Context()); err != nil || len(flat(tree)) != 1 || flat(tree)["instance-id"] == "" {
		t.Errorf("metadata must name the instance: %v %v", flat(tree), err)
	}
	put(t, root, "sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000\n")
	if id, _ := c.InstanceID(t.Context()); !strings.HasPrefix(id, "0123") {
		t.Errorf("id %q", id)
	}
	put(t, root, "var/spool/none/meta-data.txt", "instance-id=vm-7\r\nopenssh-key=ssh-rsa A=\r\n# note=1\n")
	put(t, root, "var/spool/none/user-data.txt", "a=b")
	id, _ := c.InstanceID(t.Context())
	key, _ := c.LoginKey(t.Context())
	raw, _ := c.UserData(t.Context())
	if id != "vm-7" || key != "ssh-rsa A=" || string(raw) != "a=b" {
		t.Errorf("%q %q %q", id, key, raw)
	}
}

func TestUnknownCloud(t *testing.T) {
	if _, err := New("azure", Options{}); err == nil || !strings.Contains(err.Error(), "ec2, none") {
		t.Errorf("got %v", err)
	}
}

func TestRecognise(t *testing.T) {
	tests := map[string]struct {
		h    Hints
		want string
	}{
		"nitro":       {Hints{SysVendor: "Amazon EC2", ProductName: "t3.micro"}, "ec2"},
		"metal":       {Hints{ChassisAssetTag: "Amazon EC2"}, "ec2"},
		"xen":         {Hints{SysVendor: "Xen", BIOSVersion: "4.11.amazon", ProductUUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, "ec2"},
		"xen swapped": {Hints{BIOSVersion: "4.2.amazon", ProductUUID: "45E12AEC-DCD1-B213-94ED-012345ABCDEF"}, "ec2"},
		"other xen":   {Hints{SysVendor: "Xen", BIOSVersion: "4.11", ProductUUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, ""},
		"qemu":        {Hints{SysVendor: "QEMU"}, ""},
		"nothing":     {Hints{}, ""},
	}
	for name, tc := range tests {
		if got := Recognise(tc.h); got != tc.want {
			t.Errorf("%s: got %q", name, got)
		}
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
