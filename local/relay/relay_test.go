// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package relay

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTarget(t *testing.T) {
	for target, ok := range map[string]bool{
		"unix:/a b,c": true, "tcp:127.0.0.1:80": true, "tcp:[::1]:80": true,
		"unix:": false, "tcp:80": false, "tcp:a:": false, "udp:a:1": false, "": false,
	} {
		_, _, err := Target(target)
		require.Equal(t, ok, err == nil, target)
	}
}

// sink collects the output and tells when it was closed.
type sink struct {
	io.Writer
	closed chan struct{}
}

func (s sink) CloseWrite() error {
	close(s.closed)
	return nil
}

func listen(t *testing.T, handle func(*net.UnixConn)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		handle(conn)
	}()
	return "unix:" + path
}

// The server answers only after the whole request, so the end of the input must
// reach it while the answer's way stays open.
func TestHalfClose(t *testing.T) {
	target := listen(t, func(c *net.UnixConn) {
		request, _ := io.ReadAll(c)
		_, _ = c.Write([]byte("got " + string(request)))
	})
	var out strings.Builder
	s := sink{&out, make(chan struct{})}
	require.NoError(t, Run(t.Context(), target, strings.NewReader("ping"), s))
	require.Equal(t, "got ping", out.String())
	<-s.closed
}

// A server that ends first is told on to the guest at once, while the guest's
// half is still open.
func TestServerEndsFirst(t *testing.T) {
	target := listen(t, func(c *net.UnixConn) { _, _ = c.Write([]byte("bye")) })
	in, guest := io.Pipe()
	var out strings.Builder
	s := sink{&out, make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- Run(context.Background(), target, in, s) }()
	select {
	case <-s.closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the end was not passed on")
	}
	require.NoError(t, guest.Close())
	require.NoError(t, <-done)
	require.Equal(t, "bye", out.String())
}

func TestNobodyListens(t *testing.T) {
	err := Run(t.Context(), "unix:"+filepath.Join(t.TempDir(), "s"), strings.NewReader(""), sink{io.Discard, make(chan struct{})})
	require.ErrorContains(t, err, "connect")
}

func TestCancel(t *testing.T) {
	target := listen(t, func(c *net.UnixConn) { _, _ = io.ReadAll(c) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	in, _ := io.Pipe()
	require.ErrorIs(t, Run(ctx, target, in, sink{io.Discard, make(chan struct{})}), context.DeadlineExceeded)
}
