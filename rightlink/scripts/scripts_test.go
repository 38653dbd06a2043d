// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/spool"
)

type notes struct {
	mu   sync.Mutex
	text strings.Builder
	sums []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text.WriteString(s)
}
func (n *notes) Section(t string) { n.sums = append(n.sums, t); n.add("== " + t + "\n") }
func (n *notes) Status(t string)  { n.sums = append(n.sums, t); n.add("-- " + t + "\n") }
func (n *notes) Info(t string)    { n.add("I " + t + "\n") }
func (n *notes) Error(t string)   { n.add("E " + t + "\n") }
func (n *notes) Output(t string)  { n.add(t) }
func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}
func (n *notes) Flush(context.Context) error { return nil }

type past map[string]bool

func (p past) Has(n string) bool  { return p[n] }
func (p past) Add(n string) error { p[n] = true; return nil }

type content map[string]string

func (c content) Download(_ context.Context, a wire.Attachment, _ []string, w io.Writer) (int64, error) {
	text, ok := c[a.URL]
	if !ok {
		return 0, &session.Error{Method: "GET", Path: a.URL, Status: 404}
	}
	n, err := io.WriteString(w, text)
	return int64(n), err
}

type installed struct {
	names []string
	err   error
}

func (i *installed) Install(_ context.Context, names []string) error {
	i.names = append(i.names, names...)
	return i.err
}

func newRunner(t *testing.T) (Runner, *installed, past) {
	inst, p := &installed{}, past{}
	return Runner{
		Root: paths.Root(t.TempDir()),
		Machine: Machine{
			Identity: identity.Identity{ClientID: "4711", ClientSecret: "t0ken", Account: "71", APIHostname: "rs.example.net", HTTPProxy: "u:pr0xypw@10.0.0.1:3128"},
			Spool: spool.Data{Cloud: "ec2", Metadata: map[string]string{"EC2_INSTANCE_ID": "i-1", "EC2_LOCAL_IPV4": "10.0.0.5", "EC2_SHADOW": "meta"},
				UserData: map[string]string{"RS_RN_ID": "4711", "RS_RN_AUTH": "t0ken", "RS_COPY": "xt0kenx"}},
			SelfHref: "/api/clouds/1/instances/A", Distro: "debian",
		},
		Downloader: content{}, Packages: inst, Past: p, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler),
	}, inst, p
}

func bundle(scripts ...wire.RightScript) wire.ExecutableBundle {
	return wire.ExecutableBundle{Executables: scripts}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestRunGivesEnvironmentAndAttachments(t *testing.T) {
	t.Setenv("SECRET_OF_THE_AGENT", "no")
	t.Setenv("HOME", "")
	r, inst, p := newRunner(t)
	r.Machine.Rebooted = true
	p["one"] = true
	r.Downloader = content{"/right_net/attachments/x": "payload"}
	a := &notes{}
	script := wire.RightScript{
		Nickname: "one", Packages: "curl  jq", Source: "#!/bin/sh\npwd; ls -A; cat data.txt; echo; cat \"$RS_ATTACH_DIR/data.txt\"; echo; env; head -c 100 \"$0\"; stat -c %a:%a \"$0\" .; exec 1>&2; echo to stderr\n",
		Parameters:  map[string]string{"WHO": "it's \"you\" $HOME `x`\nline 2 é", "EMPTY": "", "EC2_SHADOW": "input", "RS_ARCH": "input", "BAD=NAME": "x", "NUL": "a\x00b", "PASSWORD": "hunter2"},
		Secrets:     []string{"PASSWORD"},
		Attachments: []wire.Attachment{{URL: "/right_net/attachments/x", FileName: "data.txt", Digest: strings.ToUpper(digest("payload"))}},
	}
	require.NoError(t, r.Run(t.Context(), bundle(script, wire.RightScript{Nickname: "two", Packages: "jq git", Source: "#!/bin/sh\nexit 0\n"}), Boot, a))
	out := a.String()
	for _, want := range []string{
		"payload\npayload\n", "WHO=it's \"you\" $HOME `x`\nline 2 é\n", "EMPTY=\n", "EC2_SHADOW=input\n", "EC2_INSTANCE_ID=i-1\n", "PASSWORD=(hidden)\n",
		"RS_RN_ID=4711\n", "RS_REBOOT=true\n", "RS_ALREADY_RUN=true\n", "RS_DISTRO=debian\n", "RS_DIST=debian\n", "RS_CLOUD_PROVIDER=ec2\n",
		"RS_PRIVATE_IP=10.0.0.5\n", "RS_SELF_HREF=/api/clouds/1/instances/A\n", "RS_PACKAGES=curl jq git\n", "client_id=4711\n", "account=71\n",
		"api_hostname=rs.example.net\n", "HOME=/root\n", "to stderr\n", "#! /bin/sh\n", "no_proxy=169.254.0.0/16", "http_proxy=http://u:(hidden)@10.0.0.1:3128\n",
		"== RightScript: one\n", "-- Completed: one\n", "-- Completed: two\n", "700:700\n700:700\n",
	} {
		require.Contains(t, out, want)
	}
	for _, no := range []string{"t0ken", "hunter2", "pr0xypw", "RS_PUBLIC_IP", "RS_ARCH=input", "SECRET_OF_THE_AGENT", "NUL=", "BAD", "DECOM_REASON"} {
		require.NotContains(t, out, no)
	}
	dir, _, _ := strings.Cut(strings.SplitN(out, "\n", 3)[2], "\n")
	require.Regexp(t, `/var/spool/rightlink/scripts/rll-[^/]+$`, dir)
	require.Contains(t, out, "ATTACH_DIR="+dir+"\n")
	require.Contains(t, out, "__script-1\ndata.txt\n")
	require.NoDirExists(t, dir)
	require.Equal(t, []string{"curl", "jq", "git"}, inst.names)
	require.True(t, p["two"])
}

func TestFailures(t *testing.T) {
	ok := wire.RightScript{Nickname: "later", Source: "#!/bin/sh\necho later ran\n"}
	for name, tc := range map[string]struct {
		source string
		kind   Kind
		want   []string
		later  bool
	}{
		"boot":          {"#!/bin/sh\nexit 3\n", Boot, []string{"E Script exit status: 3", "-- Stranded: bad"}, false},
		"operational":   {"#!/bin/sh\nexit 3\n", Operational, []string{"-- Aborted: bad"}, false},
		"decommission":  {"#!/bin/sh\nexit 3\n", Decommission, []string{"-- Aborted: bad"}, true},
		"signal":        {"#!/bin/sh\nkill -9 $$\n", Boot, []string{"killed by signal 9"}, false},
		"no line":       {"echo hello\n", Boot, []string{"#!/bin/bash", "echo hello"}, false},
		"empty":         {"", Boot, []string{"#!/bin/bash"}, false},
		"interpreter":   {"#!/no/such\n", Boot, []string{`interpreter "/no/such"`}, false},
		"windows lines": {"#!/bin/sh\r\necho x\r\n", Boot, []string{"Windows line ends"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, p := newRunner(t)
			a := &notes{}
			err := r.Run(t.Context(), bundle(wire.RightScript{Nickname: "bad", Source: tc.source}, ok), tc.kind, a)
			var failed *ScriptError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "bad", failed.Script)
			for _, want := range tc.want {
				require.Contains(t, a.String(), want)
			}
			require.Equal(t, tc.later, strings.Contains(a.String(), "later ran"))
			require.False(t, p["bad"])
			left, _ := os.ReadDir(r.Root.Scripts())
			require.Empty(t, left)
		})
	}
}

func TestTimeoutEndsTheGroup(t *testing.T) {
	r, _, _ := newRunner(t)
	mark := filepath.Join(t.TempDir(), "mark")
	a := &notes{}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	source := fmt.Sprintf("#!/bin/sh\n(sleep 1; touch %s) &\necho started\nsleep 30\n", mark)
	began := time.Now()
	err := r.Run(ctx, bundle(wire.RightScript{Nickname: "slow", Source: source}), Decommission, a)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Contains(t, a.String(), "did not end in time")
	time.Sleep(1200 * time.Millisecond)
	require.NoFileExists(t, mark)
}

// A script is finished when its process exits; what its children write later
// still reaches the entry.
func TestChildrenGoOn(t *testing.T) {
	r, _, _ := newRunner(t)
	a := &notes{}
	began := time.Now()
	err := r.Run(t.Context(), bundle(wire.RightScript{Nickname: "fork", Source: "#!/bin/sh\n(sleep 2; echo from the child) &\necho parent\n"}), Boot, a)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 1500*time.Millisecond)
	require.Contains(t, a.String(), "parent")
	require.NotContains(t, a.String(), "from the child")
	require.Eventually(t, func() bool { return strings.Contains(a.String(), "from the child") }, 10*time.Second, 10*time.Millisecond)
}

func TestAttachmentFailures(t *testing.T) {
	good := digest("payload")
	for name, tc := range map[string]struct {
		a    wire.Attachment
		want string
	}{
		"wrong digest": {wire.Attachment{URL: "/x", FileName: "f", Digest: digest("other")}, "does not have the digest"},
		"no digest":    {wire.Attachment{URL: "/x", FileName: "f"}, "neither SHA-256 nor MD5"},
		"not found":    {wire.Attachment{URL: "/none", FileName: "f", Digest: good}, "404"},
		"directories":  {wire.Attachment{URL: "/x", FileName: "../f", Digest: good}, "without directories"},
		"script":       {wire.Attachment{URL: "/x", FileName: "__script-1", Digest: good}, "without directories"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, _ := newRunner(t)
			r.Downloader = content{"/x": "payload"}
			a := &notes{}
			err := r.Run(t.Context(), bundle(wire.RightScript{Nickname: "s", Source: "#!/bin/sh\necho ran\n", Attachments: []wire.Attachment{tc.a}}), Boot, a)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, a.String(), "ran\n")
			require.Contains(t, a.String(), "-- Stranded: preparing boot scripts")
			left, _ := os.ReadDir(r.Root.Attachments())
			require.Empty(t, left)
		})
	}
}

func TestAttachmentCache(t *testing.T) {
	dir := t.TempDir()
	c := cache{dir: dir, from: content{"/x": "payload"}, clock: clock.NewFake(time.Now())}
	a := wire.Attachment{URL: "/x", FileName: "f", Digest: digest("payload")}
	file, err := c.fetch(t.Context(), a, nil)
	require.NoError(t, err)
	c.from = content{}
	_, err = c.fetch(t.Context(), a, nil)
	require.NoError(t, err, "from the cache")
	require.NoError(t, os.WriteFile(file, []byte("changed"), 0o600))
	_, err = c.fetch(t.Context(), a, nil)
	require.ErrorContains(t, err, "404", "a changed copy is not used")
	a.Digest = "321c3cf486ed509164edec1e1981fec8" // MD5 of payload
	c.from = content{"/x": "payload"}
	_, err = c.fetch(t.Context(), a, nil)
	require.NoError(t, err)
}

func TestPackagesFail(t *testing.T) {
	r, inst, _ := newRunner(t)
	inst.err = errors.New("no such package")
	a := &notes{}
	err := r.Run(t.Context(), bundle(wire.RightScript{Nickname: "s", Packages: "x", Source: "#!/bin/sh\necho ran\n"}), Boot, a)
	require.ErrorContains(t, err, "no such package")
	require.NotContains(t, a.String(), "ran\n")
}

func TestEmptyBundle(t *testing.T) {
	r, _, _ := newRunner(t)
	a := &notes{}
	require.NoError(t, r.Run(t.Context(), bundle(), Boot, a))
	require.Equal(t, []string{"Boot: no scripts to run"}, a.sums)
}

func TestDistroAndArch(t *testing.T) {
	root := paths.Root(t.TempDir())
	require.Empty(t, Distro(root))
	require.NoError(t, os.MkdirAll(root.Join("etc"), 0o755))
	require.NoError(t, os.WriteFile(root.OSRelease(), []byte("VERSION_ID=9\nID=\"CentOS\"\n"), 0o600))
	require.Equal(t, "centos", Distro(root))
	require.Equal(t, []string{"x86_64", "i386", "aarch64", "unknown"}, []string{Arch("amd64"), Arch("386"), Arch("arm64"), Arch("mips")})
}
