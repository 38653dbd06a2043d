// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package relay carries one byte stream between standard input and output and
// a socket. QEMU starts one relay for each connection that a guest opens to a
// forwarded address.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// linger is how long the guest's half stays open after the server has finished,
// so that a client which never closes leaves no process behind.
const linger = 30 * time.Second

// dialTimeout bounds a connect to a server on this same machine.
const dialTimeout = 10 * time.Second

// HalfCloser is a stream whose write side can be closed alone.
type HalfCloser interface {
	io.Writer
	CloseWrite() error
}

// Target splits "unix:PATH" or "tcp:HOST:PORT" into what net.Dial takes.
func Target(target string) (network, address string, err error) {
	network, address, _ = strings.Cut(target, ":")
	switch {
	case network == "unix" && address != "":
		return network, address, nil
	case network == "tcp":
		if _, port, err := net.SplitHostPort(address); err == nil && port != "" {
			return network, address, nil
		}
	}
	return "", "", fmt.Errorf("relay target %q: want unix:PATH or tcp:HOST:PORT", target)
}

// Run connects to target and copies both ways. It ends when both sides have
// ended, when ctx does, or a short while after the server has.
func Run(ctx context.Context, target string, in io.Reader, out HalfCloser) error {
	network, address, err := Target(target)
	if err != nil {
		return err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	defer func() { _ = conn.Close() }()
	server, ok := conn.(HalfCloser)
	if !ok {
		return fmt.Errorf("relay: %s connection cannot close its halves", network)
	}
	upstream, downstream := make(chan error, 1), make(chan error, 1)
	go func() { upstream <- pump(server, in) }()
	go func() { downstream <- pump(out, conn) }()
	return wait(ctx, upstream, downstream)
}

// wait ends once the server's answer is through and the guest has closed its
// half, or the linger time is over. An error towards the server does not cut
// off an answer that is still coming.
func wait(ctx context.Context, upstream, downstream <-chan error) error {
	var up error
	for {
		select {
		case up = <-upstream:
			upstream = nil
		case down := <-downstream:
			if upstream != nil {
				select {
				case up = <-upstream:
				case <-time.After(linger):
				case <-ctx.Done():
				}
			}
			return errors.Join(down, up)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pump copies until the source ends, then tells the other side that no more comes.
func pump(dst HalfCloser, src io.Reader) error {
	_, err := io.Copy(dst, src)
	// The peer may be gone already; then there is nobody to tell.
	_ = dst.CloseWrite()
	return err
}
