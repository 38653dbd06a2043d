// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
)

const launch = "RS_rn_id=4711&RS_rn_auth=s3cr3t&RS_account=71&RS_server=rs.example.net"

// build makes the program for an architecture, as images get it.
func build(t *testing.T, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bootstrap-"+arch)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// service is a metadata service; fault may answer in its place.
type service struct {
	fault func(w http.ResponseWriter, r *http.Request, n int) bool

	mu   sync.Mutex
	seen map[string]int
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen[r.URL.Path]++
	n := s.seen[r.URL.Path]
	s.mu.Unlock()
	if s.fault != nil && s.fault(w, r, n) {
		return
	}
	body, ok := map[string]string{
		"/latest/api/token": "token", "/latest/user-data": launch, "/latest/meta-data/": "instance-id\nlocal-ipv4\nplacement/",
		"/latest/meta-data/instance-id": "i-0aaa", "/latest/meta-data/local-ipv4": "10.0.0.7",
		"/latest/meta-data/placement/": "region", "/latest/meta-data/placement/region": "us-east-1",
	}[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = fmt.Fprint(w, body)
}

// listen starts the service after a delay, at an address that is known before.
func listen(t *testing.T, s *service, late time.Duration) string {
	t.Helper()
	s.seen = map[string]int{}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	srv := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	t.Cleanup(func() { _ = srv.Close() })
	if late > 0 {
		require.NoError(t, l.Close())
	}
	go func() {
		if late > 0 {
			time.Sleep(late)
			if l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", address); err != nil {
				return
			}
		}
		_ = srv.Serve(l)
	}()
	return "http://" + address
}

func ec2Root(t *testing.T) string {
	t.Helper()
	root := debian(t)
	for _, dir := range []string{"run", "root", "var/lib", "var/spool"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/rightscale.d/cloud"), []byte("ec2"), 0o600))
	return root
}

func stage(t *testing.T, argv []string, root, endpoint, name string) (status.Stage, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "--root", root, name)...)
	cmd.Env = append(os.Environ(), cloud.EndpointEnv+"="+endpoint)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	require.NotContains(t, string(out), "s3cr3t")
	s, loadErr := status.Load(root)
	require.NoError(t, loadErr)
	st, _ := s.Stage(name)
	return st, err
}

// TestFaults runs the real program against a metadata service with one fault
// each. The status file tells what became of it.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	program := build(t, runtime.GOARCH)
	answer := func(code int, times int, paths ...string) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n > times || len(paths) > 0 && !strings.HasPrefix(r.URL.Path, paths[0]) {
				return false
			}
			w.WriteHeader(code)
			return true
		}
	}
	text := func(path, body string) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.URL.Path == path {
				_, _ = fmt.Fprint(w, body)
			}
			return r.URL.Path == path
		}
	}
	for name, tc := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request, int) bool
		late  time.Duration
		want  status.Result
	}{
		"none":               {nil, 0, status.OK},
		"late":               {nil, 2 * time.Second, status.OK},
		"503 twice for each": {answer(503, 2), 0, status.OK},
		"429":                {answer(429, 1), 0, status.OK},
		"token runs out":     {answer(401, 1, "/latest/meta-data"), 0, status.OK},
		"slow": {func(http.ResponseWriter, *http.Request, int) bool {
			time.Sleep(300 * time.Millisecond)
			return false
		}, 0, status.OK},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n > 1 {
				return false
			}
			w.Header().Set("Content-Length", "100")
			_, _ = fmt.Fprint(w, "half")
			panic(http.ErrAbortHandler)
		}, 0, status.OK},
		"garbage as metadata":  {text("/latest/meta-data/", "<html>\x00\xff../../etc/passwd\n../x\n"), 0, status.OK},
		"garbage as user-data": {text("/latest/user-data", "\x1f\x8b\x00\xff"), 0, status.Dormant},
		"no user-data":         {answer(404, 1000, "/latest/user-data"), 0, status.Dormant},
		"switched off":         {answer(403, 1000), 0, status.Dormant},
	} {
		t.Run(name, func(t *testing.T) {
			root := ec2Root(t)
			st, err := stage(t, []string{program}, root, listen(t, &service{fault: tc.fault}, tc.late), "rightscale")
			require.NoError(t, err)
			require.Equal(t, tc.want, st.Result, st.Detail)
			_, err = os.Stat(filepath.Join(root, "var/lib/rightscale-identity"))
			require.Equal(t, tc.want == status.OK, err == nil, "the identity is there only with settings")
			require.NotEmpty(t, st.Detail)
		})
	}
}

// TestArchitectures runs the stages of other architectures' programs, under an
// emulator where the machine needs one.
func TestArchitectures(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	for arch, emulator := range map[string]string{"arm64": "qemu-aarch64-static", "386": ""} {
		t.Run(arch, func(t *testing.T) {
			if arch == "386" && os.Getenv("RIGHTIMAGE_E2E") == "" {
				t.Skip("the long tests do it: nothing else is built for 386")
			}
			var argv []string
			if arch != runtime.GOARCH && emulator != "" { // amd64 runs 386
				path, err := exec.LookPath(emulator)
				if err != nil {
					t.Skip(emulator + " is not installed (package qemu-user-static)")
				}
				argv = []string{path}
			}
			argv = append(argv, build(t, arch))
			root := ec2Root(t)
			url := listen(t, &service{}, 0)
			for name, want := range map[string]status.Result{"key": status.OK, "rightboot": status.OK, "rightscale": status.OK} {
				st, err := stage(t, argv, root, url, name)
				if errors.Is(err, syscall.ENOEXEC) {
					t.Skip("it is built; this kernel does not run it")
				}
				require.NoError(t, err)
				if name == "key" {
					require.Equal(t, status.Skipped, st.Result)
					continue
				}
				require.Equal(t, want, st.Result, st.Detail)
			}
			require.FileExists(t, filepath.Join(root, "var/spool/cloud/meta-data/placement/region"))
		})
	}
}
