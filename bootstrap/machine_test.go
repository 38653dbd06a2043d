// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
)

const query = "RS_rn_id=4711&RS_rn_auth=s3cr3t-token&RS_account=71&RS_server=rs.example.net&RS_http_proxy=proxy.example:3128&RS_http_no_proxy=.example"

// metadata is an EC2 metadata service in miniature, version 2 only.
type metadata struct {
	*httptest.Server

	mu       sync.Mutex
	values   map[string]string
	requests []string
	// onRequest is called before each answer, with its number.
	onRequest func(n int)
}

func newMetadata(t *testing.T, userData string) *metadata {
	t.Helper()
	m := &metadata{values: map[string]string{
		"/latest/meta-data/":                          "instance-id\nlocal-hostname\nlocal-ipv4\npublic-keys/\n",
		"/latest/meta-data/instance-id":               "i-0aaa",
		"/latest/meta-data/local-hostname":            "ip-10-0-0-7.ec2.internal",
		"/latest/meta-data/local-ipv4":                "10.0.0.7",
		"/latest/meta-data/public-keys/":              "0=demo",
		"/latest/meta-data/public-keys/0/":            "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5L1RJTSVJ0F6SMgSWm7tt8QQVRcTvMIWoJRcuDW/Dm demo",
	}}
	if userData != "" {
		m.values["/latest/user-data"] = userData
	}
	m.Server = httptest.NewServer(m)
	t.Cleanup(m.Close)
	t.Setenv(cloud.EndpointEnv, m.URL)
	return m
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	m.requests = append(m.requests, r.Method+" "+r.URL.Path)
	n, hook := len(m.requests), m.onRequest
	body, ok := m.values[r.URL.Path]
	m.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	switch {
	case r.Method == http.MethodPut:
		_, _ = w.Write([]byte("token"))
	case r.Header.Get("X-aws-ec2-metadata-token") == "":
		w.WriteHeader(http.StatusUnauthorized)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write([]byte(body))
	}
}

func (m *metadata) set(path, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[path] = value
}

// reset starts a new test case on the same service.
func (m *metadata) reset(hook func(int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests, m.onRequest = nil, hook
}

func put(t *testing.T, root, path, text string, mode os.FileMode) {
	t.Helper()
	full := filepath.Join(root, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(t, os.WriteFile(full, []byte(text), mode))
	require.NoError(t, os.Chmod(full, mode))
}

// newRoot is a Debian with systemd, as the provisioner leaves it.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n", 0o644)
	put(t, root, "etc/debian_version", "12.8\n", 0o644)
	put(t, root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	put(t, root, "etc/hosts", "127.0.0.1 localhost", 0o644)
	put(t, root, "usr/lib/systemd/systemd", "", 0o755)
	put(t, root, "usr/bin/dpkg", "", 0o755)
	put(t, root, "var/lib/dpkg/arch", "amd64\n", 0o644)
	put(t, root, "opt/rightscale/bin/bootstrap", "", 0o755)
	put(t, root, "etc/rightscale.d/cloud", "ec2", 0o444)
	put(t, root, "etc/rightscale.d/rightscale-release", "0.1.0", 0o644)
	for _, dir := range []string{"etc/systemd/system", "root", "var/spool", "run", "sbin"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.Symlink("/usr/lib/systemd/systemd", filepath.Join(root, "sbin/init")))
	boot(t, root, "boot-1")
	_, err := agent(root, &machine{root: root}).Register(context.Background(), bootstrap.RegisterOptions{Image: true})
	require.NoError(t, err)
	arch, err := detectArch(root)
	require.NoError(t, err)
	name := "root/.rightscale/rightlink_0.1.0_" + arch + ".deb"
	sum := sha256.Sum256([]byte("package"))
	put(t, root, name, "package", 0o440)
	put(t, root, name+".sha256", hex.EncodeToString(sum[:])+"\n", 0o440)
	return root
}

func boot(t *testing.T, root, id string) {
	t.Helper()
	put(t, root, "proc/sys/kernel/random/boot_id", id+"\n", 0o644)
	require.NoError(t, os.RemoveAll(filepath.Join(root, "run")))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "run"), 0o755))
}

// machine is a Runner that does what the tools would do, below root.
type machine struct {
	root string
	argv []string
	// before is called before each command, with its number.
	before func(n int)
	fail   map[string]error // by program
	host   string
}

func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	m.argv = append(m.argv, strings.Join(append([]string{filepath.Base(name)}, args...), " "))
	if m.before != nil {
		m.before(len(m.argv))
	}
	if err := m.fail[filepath.Base(name)]; err != nil {
		return "", err
	}
	has := func(word string) bool { return strings.Contains(strings.Join(args, " "), word) }
	status := filepath.Join(m.root, "var/lib/dpkg/rightlink")
	write := func(path, text string) error {
		full := filepath.Join(m.root, path)
		return errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o755))
	}
	switch filepath.Base(name) {
	case "dpkg-query":
		text, err := os.ReadFile(status)
		return string(text), err
	case "dpkg":
		if has("--purge") {
			return "", errors.Join(os.Remove(status), os.Remove(filepath.Join(m.root, "opt/rightscale/bin/rightlink")), os.Remove(filepath.Join(m.root, "opt/rightscale/bin/post_install.sh")))
		}
		file := args[len(args)-1]
		version, text := "0.1.0", []byte{}
		var err error
		if parts := strings.Split(filepath.Base(file), "_"); len(parts) > 1 {
			version = parts[1]
			text, err = os.ReadFile(file)
		}
		// As dpkg does: a new file gets the name of the old one.
		_ = os.Remove(filepath.Join(m.root, "opt/rightscale/bin/rightlink"))
		return "", errors.Join(err, write("opt/rightscale/bin/rightlink", string(text)), write("opt/rightscale/bin/post_install.sh", ""), write("var/lib/dpkg/rightlink", "ii  "+version+"\n"))
	case "rightlink":
		if has("status") {
			text, err := os.ReadFile(filepath.Join(m.root, "opt/rightscale/bin/rightlink"))
			return fmt.Sprintf(`{"running":%t}`, !strings.Contains(string(text), "bad")), err
		}
		if has("enroll") {
			return "", write("var/lib/rightscale/right_link/state.js", "{}")
		}
	}
	return "", nil
}

func agent(root string, m *machine) *bootstrap.Agent {
	return &bootstrap.Agent{
		Root: root, Run: m, Log: slog.New(slog.DiscardHandler), Live: true,
		WaitNetwork: func(context.Context, time.Duration) error { return nil },
		Hostname:    func() (string, error) { return "localhost", nil },
		SetHostname: func(name string) error { m.host = name; return nil },
	}
}

// tree lists what matters of a root: path, mode, content. What differs in every
// run (times, counters) is left out.
func tree(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if strings.HasPrefix(rel, "run/rightimage/") || rel == "run/rightimage" || strings.HasSuffix(rel, "status.json") {
			return nil
		}
		text := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = strings.ReplaceAll(string(data), root, "")
		case info.Mode()&os.ModeSymlink != 0:
			text, _ = os.Readlink(path)
		}
		out = append(out, fmt.Sprintf("%s %s %q", rel, info.Mode(), text))
		return nil
	}))
	sort.Strings(out)
	return out
}

// TestMain runs one stage in a process of its own when asked to, so that a test
// can kill it.
func TestMain(m *testing.M) {
	root, stage := os.Getenv("BOOTSTRAP_TEST_ROOT"), os.Getenv("BOOTSTRAP_TEST_STAGE")
	if root == "" {
		os.Exit(m.Run())
	}
	killAt, _ := strconv.Atoi(os.Getenv("BOOTSTRAP_TEST_KILL"))
	runner := &machine{root: root, before: func(n int) {
		if n == killAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}}
	if _, err := agent(root, runner).Do(context.Background(), stage); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
