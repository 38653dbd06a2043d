// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// hostileBodies are wrong in as many ways as one can think of; words of the API
// lead them into the depth of the handlers.
func hostileBodies() (list []string) {
	values := []string{`null`, `true`, `-1`, `1e999`, `99999999999999999999`, `""`, `"\u0000"`, `"x\ny"`, `"/api/servers/1"`, `"/api/clouds/1/images/../../x"`, `[]`, `[[]]`, `[null]`, `{}`,
		`{"name":[]}`, `{"name":{"name":"x"}}`, `"` + strings.Repeat("x", 70000) + `"`, `"\ud800"`}
	for _, object := range []string{"server", "instance", "deployment", "server_template", "right_script", "multi_cloud_image", "multi_cloud_image_setting", "runnable_binding", "credential", "server_array",
		"audit_entry", "alert_spec", "server_template_multi_cloud_image"} {
		for i, value := range values {
			list = append(list, fmt.Sprintf(`{%q:%s}`, object, value),
				fmt.Sprintf(`{%q:{"name":%s,"description":%s,"instance":%s,"inputs":%s,"source":%s,"value":%s}}`, object, value, values[(i+1)%len(values)], values[(i+2)%len(values)], values[(i+3)%len(values)], values[(i+4)%len(values)], value))
		}
	}
	for _, field := range []string{"inputs", "tags", "resource_hrefs", "runnable_bindings", "runnable_binding_hrefs", "filter", "view", "limit", "right_script_href", "email", "grant_type", "summary", "offset", "commit_message"} {
		for _, value := range values {
			list = append(list, fmt.Sprintf(`{%q:%s}`, field, value))
		}
	}
	return append(list, "", "{", "[", "null", "\xff\xfe", strings.Repeat("[", 5000), strings.Repeat(`{"a":`, 5000), "{}{}")
}

// Whatever is sent to whichever route, the answer is an answer, and no 500.
func TestHostileBodies(t *testing.T) {
	w := start(t)
	ann := w.person(fleet.DefaultAccount, access.Admin)
	w.server("web-1", "PASSWORD=text:x")
	hrefs := ann.objects(w.view("web-1").ID)
	srv := New(w.fleet, Options{Log: slog.New(slog.DiscardHandler)})
	sent := 0
	// A second goes by between two requests, so that no limit is met.
	srv.admit.now = func() time.Time { return time.Unix(int64(sent), 0) }
	h := srv.Handler()
	bodies := hostileBodies()
	fill := strings.NewReplacer("{cloud}", "1", "{id}", "1", "{st}", path.Base(hrefs["st"]), "{deployment}", "1", "{uid}", "x", "{instance}", "next-1", "{setting}", "1", "{attachment}", "1", "{task}", "ae-1", "{digest}", "x")
	for n, e := range srv.entries() {
		if e.method == http.MethodGet || e.method == http.MethodDelete || e.role == "" && !e.open {
			continue
		}
		target := fill.Replace(e.path)
		for i := n % 13; i < len(bodies); i += 13 { // some of them each, all of them to neighbours
			r := httptest.NewRequest(e.method, target, strings.NewReader(bodies[i]))
			r.Header.Set("Content-Type", []string{"application/json", "application/x-www-form-urlencoded"}[sent%2])
			r.Header.Set("X-API-Version", versionFor(e.path))
			ann.auth(r)
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			require.Less(t, answer.Code, 500, "%s %s with %.200s: %s", e.method, target, bodies[i], answer.Body)
			sent++
		}
	}
	require.Greater(t, sent, 2000)
}

// endless is a body that never ends.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.sent += len(p)
	return len(p), nil
}

// Bodies without an end are refused, many at a time, and what they filled is
// given back.
func TestEndlessBodies(t *testing.T) {
	w := start(t)
	ann := w.person(fleet.DefaultAccount, access.Admin)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	flood := func() {
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				path, body := "/api/deployments", io.MultiReader(strings.NewReader(`{"deployment":{"name":"`), &endless{})
				if i%3 == 0 {
					path = "/ui/nothing-of-the-kind"
				}
				req, err := http.NewRequest(http.MethodPost, w.base+path, body)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("X-API-Version", "1.5")
				req.Header.Set("Content-Type", "application/json")
				ann.auth(req)
				resp, err := w.client.Do(req)
				if err != nil {
					return // refused while it was still being sent
				}
				_ = resp.Body.Close()
				if want := map[bool]int{true: 404, false: 413}[i%3 == 0]; resp.StatusCode != want {
					t.Errorf("%s: %d", path, resp.StatusCode)
				}
			})
		}
		all.Wait()
		w.client.CloseIdleConnections()
	}
	flood() // what is kept for good, such as buffers of TLS, is there after the first
	before := heap()
	for range 3 {
		flood()
	}
	require.Less(t, heap()-before, int64(8<<20), "three floods of 24 bodies leave nothing behind")
	require.Equal(t, 200, w.call("GET", "/api/health-check", nil).status)
}

// A client that sends slowly, or reads slowly, or says nothing loses its
// connection; others are served all the while.
func TestSlowClients(t *testing.T) {
	w := start(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dir := filepath.Dir(w.ca)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	require.NoError(t, err)
	srv := New(w.fleet, Options{Log: slog.New(slog.DiscardHandler)})
	srv.pace = pace{header: 300 * time.Millisecond, read: 600 * time.Millisecond, write: time.Second, idle: 300 * time.Millisecond}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l, func() (*tls.Certificate, error) { return &pair, nil }) }()
	dial := func() net.Conn {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	const head = "POST /api/oauth2 HTTP/1.1\r\nHost: x\r\nX-API-Version: 1.5\r\nContent-Length: 100000\r\n"
	for name, text := range map[string]string{"says nothing": "", "sends a header slowly": head, "sends a body slowly": head + "\r\n{"} {
		t.Run(name, func(t *testing.T) {
			conn := dial()
			_, err := io.WriteString(conn, text)
			require.NoError(t, err)
			trickle, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			go func() {
				for trickle.Err() == nil && text != "" {
					time.Sleep(100 * time.Millisecond)
					if _, err := conn.Write([]byte("x")); err != nil {
						return
					}
				}
			}()
			began := time.Now()
			_ = conn.SetReadDeadline(began.Add(10 * time.Second))
			answer, err := io.ReadAll(conn)
			require.Less(t, time.Since(began), 5*time.Second, "%s %v", answer, err)
			if len(answer) > 0 {
				require.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 4")), "%s", answer)
			}
		})
	}
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
}
