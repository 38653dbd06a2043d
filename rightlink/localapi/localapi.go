// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package localapi is the agent's door for programs on the same machine: the
// HTTP API of RightLink 10 on 127.0.0.1, guarded by a secret in a file that only
// root reads. Everything below /api goes to the platform in the instance's name.
package localapi

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// HeaderSecret carries the secret of the file.
const HeaderSecret = "X-RLL-Secret"

// maxBody bounds a request: an attachment can be uploaded through /api.
const maxBody = 64 << 20

// Agent is what the API can ask of the agent.
type Agent interface {
	Env() map[string]string
	SetEnv(name, value string) error
	DeleteEnv(name string) (bool, error)
	// Proc are the agent's facts by name.
	Proc() map[string]string
	// SetProc changes one of them, if that may be changed.
	SetProc(name, value string) error
	Schedule(ctx context.Context, r wire.ScheduleRequest) (auditHref string, err error)
	// Upgrade starts an upgrade of the agent, to a version or to the newest.
	Upgrade(ctx context.Context, version string) error
	// ManageLogin is told on, off or compat.
	LoginMode() string // on or off
	ManageLogin(ctx context.Context, mode string) error
	// Shutdown reboots, stops or terminates the instance.
	Shutdown(ctx context.Context, kind string, immediately bool) error
	// Restart ends the agent's process, to be started again; nothing is
	// decommissioned.
	Restart(reenrol bool)
	Tags(ctx context.Context, add, remove []string) ([]string, error)
	Forward(ctx context.Context, f session.Forwarded, w http.ResponseWriter) error
}

// Server is a started API.
type Server struct {
	agent  Agent
	log    *slog.Logger
	secret string
	file   string
	http   *http.Server
	done   chan struct{}
}

// Start listens on a free port of 127.0.0.1 and writes the file with port and
// secret. Close ends it.
func Start(agent Agent, file string, log *slog.Logger) (*Server, error) {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw)
	s := &Server{agent: agent, log: log, secret: hex.EncodeToString(raw), file: file, done: make(chan struct{})}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("local API: %w", err)
	}
	s.http = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("local API", "error", err)
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	text := "RS_RLL_PORT=" + port + "\nRS_RLL_SECRET=" + s.secret + "\n"
	if err := atomicfile.WriteMkdir(file, []byte(text), 0o600, 0o755); err != nil {
		s.Close()
		return nil, fmt.Errorf("local API: %w", err)
	}
	return s, nil
}

// Close ends the API at once and removes the file; a crash leaves it.
func (s *Server) Close() {
	if err := os.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("removing the local API's file", "error", err)
	}
	_ = s.http.Close()
	<-s.done
}

// Handler is the table of contents of the API.
func (s *Server) Handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/api/", s.forward)
	m.HandleFunc("GET /rll/env", func(w http.ResponseWriter, _ *http.Request) { list(w, s.agent.Env()) })
	m.HandleFunc("GET /rll/env/{name}", func(w http.ResponseWriter, r *http.Request) { one(w, r, s.agent.Env()) })
	m.HandleFunc("PUT /rll/env/{name}", func(w http.ResponseWriter, r *http.Request) { put(w, r, s.agent.SetEnv) })
	m.HandleFunc("DELETE /rll/env/{name}", s.deleteEnv)
	m.HandleFunc("GET /rll/proc", func(w http.ResponseWriter, _ *http.Request) { list(w, s.agent.Proc()) })
	m.HandleFunc("GET /rll/proc/{name}", func(w http.ResponseWriter, r *http.Request) { one(w, r, s.agent.Proc()) })
	for _, method := range []string{"PUT", "POST"} { // rsc sends PUT, its design says POST
		m.HandleFunc(method+" /rll/proc/{name}", func(w http.ResponseWriter, r *http.Request) { put(w, r, s.agent.SetProc) })
	}
	m.HandleFunc("POST /rll/run/right_script", s.runScript)
	m.HandleFunc("POST /rll/run/recipe", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusUnprocessableEntity, "this agent runs RightScripts, not recipes")
	})
	m.HandleFunc("POST /rll/upgrade", s.upgrade)
	m.HandleFunc("GET /rll/login/control", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "enable_login="+s.agent.LoginMode())
	})
	m.HandleFunc("PUT /rll/login/control", s.loginControl)
	m.HandleFunc("POST /rll/shutdown", s.shutdown)
	m.HandleFunc("POST /rll/restart", s.restart)
	m.HandleFunc("GET /rll/tags", s.tags)
	m.HandleFunc("PUT /rll/tags", s.tags)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		text(w, http.StatusNotFound, r.URL.Path+" is not part of this agent's local API")
	})
	return s.guarded(m)
}

// guarded lets only those in who have read the file. A browser on this machine
// cannot have.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get(HeaderSecret)), []byte(s.secret)) != 1 {
			text(w, http.StatusUnauthorized, "header "+HeaderSecret+" is missing or wrong; it is RS_RLL_SECRET of /var/run/rightlink/secret")
			return
		}
		if path := strings.TrimRight(r.URL.Path, "/"); path != r.URL.Path && !strings.HasPrefix(path, "/api") && path != "" {
			r.URL.Path = path
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body+"\n")
}

// fail writes an error: that of the platform with its own status.
func fail(w http.ResponseWriter, err error) {
	var e *session.Error
	switch {
	case errors.As(err, &e) && e.Status >= 400:
		text(w, e.Status, e.Body)
	case errors.As(err, &e):
		text(w, http.StatusBadGateway, err.Error())
	default:
		text(w, http.StatusUnprocessableEntity, err.Error())
	}
}

func list(w http.ResponseWriter, values map[string]string) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(name + "=" + values[name] + "\n")
	}
	text(w, http.StatusOK, strings.TrimSuffix(b.String(), "\n"))
}

func one(w http.ResponseWriter, r *http.Request, values map[string]string) {
	value, ok := values[r.PathValue("name")]
	if !ok {
		text(w, http.StatusNotFound, "there is no "+strconv.Quote(r.PathValue("name")))
		return
	}
	text(w, http.StatusOK, value)
}

// put reads {"payload": "value"}, or the value itself as text/plain.
func put(w http.ResponseWriter, r *http.Request, set func(name, value string) error) {
	raw, err := io.ReadAll(r.Body)
	value := string(raw)
	if err == nil && !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") {
		var body struct {
			Payload *string `json:"payload"`
		}
		if json.Unmarshal(raw, &body) != nil || body.Payload == nil {
			text(w, http.StatusBadRequest, `want a JSON body {"payload": "value"}`)
			return
		}
		value = *body.Payload
	}
	if err == nil {
		err = set(r.PathValue("name"), value)
	}
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) deleteEnv(w http.ResponseWriter, r *http.Request) {
	found, err := s.agent.DeleteEnv(r.PathValue("name"))
	switch {
	case err != nil:
		fail(w, err)
	case !found:
		text(w, http.StatusNotFound, "there is no "+strconv.Quote(r.PathValue("name")))
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
