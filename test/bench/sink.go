// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// sinkOptions say how the service behaves.
type sinkOptions struct {
	LatencyMS      int64   // of each request
	BytesPerSecond float64 // of all connections together
	PerSecond      float64 // block requests; more are throttled
	Throttle       float64 // share of block requests that are throttled at random
}

// sink takes snapshots and keeps nothing. It does not look into the blocks: that
// what arrives is right is a matter of the tests.
type sink struct {
	o                       sinkOptions
	requests, bytes, stored atomic.Int64
	buffers                 sync.Pool

	mu       sync.Mutex
	lineFree time.Time
	tokens   float64
	at       time.Time
}

const (
	region     = "us-east-1"
	parentID   = "snap-parent"
	readChunk  = 64 << 10
	recvBuffer = 256 << 10 // what the kernel takes in advance is not much
)

func sinkMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("sink", flag.ContinueOnError)
	options := flags.String("options", "{}", "how the service behaves, in JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s := &sink{buffers: sync.Pool{New: func() any { b := make([]byte, readChunk); return &b }}}
	if err := json.Unmarshal([]byte(*options), &s.o); err != nil {
		return err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, recvBuffer) })
	}}
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String())
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/stats":
		_ = json.NewEncoder(w).Encode(measure{Requests: s.requests.Load(), Bytes: s.bytes.Load(), Stored: s.stored.Load()})
	case r.Method == http.MethodPut:
		s.put(w, r)
	case strings.HasPrefix(r.URL.Path, "/snapshots/completion/"):
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"Status":"completed"}`)
	default:
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"SnapshotId":"snap-1","BlockSize":%d}`, sparse.BlockSize)
	}
}

func (s *sink) put(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	buf := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buf)
	got := int64(0)
	for {
		n, err := r.Body.Read(*buf)
		got += int64(n)
		s.bytes.Add(int64(n))
		s.carry(n)
		if err != nil {
			break
		}
	}
	time.Sleep(time.Duration(s.o.LatencyMS) * time.Millisecond)
	switch {
	case got != sparse.BlockSize || r.Header.Get("X-Amz-Checksum") == "":
		w.WriteHeader(http.StatusBadRequest)
	case s.tooMany():
		w.Header().Set("X-Amzn-Errortype", "RequestThrottledException")
		w.WriteHeader(http.StatusBadRequest)
	default:
		s.stored.Add(1)
		w.WriteHeader(http.StatusCreated)
	}
}

// carry takes as long as the line needs for n bytes more.
func (s *sink) carry(n int) {
	if s.o.BytesPerSecond == 0 {
		return
	}
	s.mu.Lock()
	now := time.Now()
	if s.lineFree.Before(now) {
		s.lineFree = now
	}
	s.lineFree = s.lineFree.Add(time.Duration(float64(n) / s.o.BytesPerSecond * float64(time.Second)))
	wait := s.lineFree.Sub(now)
	s.mu.Unlock()
	time.Sleep(wait)
}

// tooMany decides whether a request is throttled. A burst of a tenth of a second
// is let through.
func (s *sink) tooMany() bool {
	if s.o.Throttle > 0 && rand.Float64() < s.o.Throttle {
		return true
	}
	if s.o.PerSecond == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.at.IsZero() {
		s.at = now
	}
	s.tokens = min(s.tokens+now.Sub(s.at).Seconds()*s.o.PerSecond, s.o.PerSecond/10)
	s.at = now
	if s.tokens < 1 {
		return true
	}
	s.tokens--
	return false
}

// remote is a sink in a process of its own.
type remote struct {
	endpoint string
	cmd      *exec.Cmd
}

func startSink(ctx context.Context, self string, o sinkOptions) (*remote, error) {
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "sink", "-options", string(options))
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	buf := make([]byte, 100)
	n, err := pipe.Read(buf)
	r := &remote{endpoint: strings.TrimSpace(string(buf[:n])), cmd: cmd}
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *remote) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}

// stats adds what the sink counted.
func (r *remote) stats(ctx context.Context, m *measure) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.endpoint+"/stats", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	var seen measure
	if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
		return err
	}
	m.Requests, m.Bytes, m.Stored = seen.Requests, seen.Bytes, seen.Stored
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// output runs ourselves and returns what that prints.
func output(ctx context.Context, self string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.Bytes(), nil
}
