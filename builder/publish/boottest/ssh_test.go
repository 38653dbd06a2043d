// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// newSigner makes a key.
func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	return signer
}

// server is an SSH server on the loopback interface that lets admin in, and
// answers what a command is given as its input.
type server struct {
	at     address
	answer func(command, input string) (output string, status uint32)
}

func serve(t *testing.T, allowed ssh.PublicKey) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{at: address{"127.0.0.1", l.Addr().(*net.TCPAddr).Port}}
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() == "admin" && string(key.Marshal()) == string(allowed.Marshal()) {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
	config.AddHostKey(newSigner(t))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.connection(c, config, &wg) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return s
}

func (s *server) connection(c net.Conn, config *ssh.ServerConfig, wg *sync.WaitGroup) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	wg.Go(func() { ssh.DiscardRequests(requests) })
	for open := range channels {
		channel, in, err := open.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			for r := range in {
				_ = r.Reply(r.Type == "exec" || r.Type == "subsystem" && s.answer == nil, nil)
				if r.Type != "exec" || s.answer == nil {
					continue
				}
				input, _ := io.ReadAll(channel)
				output, status := s.answer(string(r.Payload[4:]), string(input))
				_, _ = io.WriteString(channel, output)
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
				_ = channel.Close()
			}
		})
	}
}

func TestSSH(t *testing.T) {
	key := newSigner(t)
	s := serve(t, key.PublicKey())
	s.answer = func(command, input string) (string, uint32) {
		if input == "fail" {
			return "Please login as the user \"admin\"\n", 142
		}
		return command + ": " + input, 0
	}
	c, err := dialSSH(t.Context(), s.at, "admin", key)
	require.NoError(t, err)
	defer c.Close()
	out, err := c.Run(t.Context(), "sh -s", "echo hello")
	require.NoError(t, err)
	require.Equal(t, "sh -s: echo hello", out)
	_, err = c.Run(t.Context(), "sh -s", "fail")
	require.ErrorIs(t, err, errRefused)
	require.ErrorContains(t, err, "Please login as")
	require.ErrorContains(t, c.SFTP(t.Context()), "no SFTP")
	require.Equal(t, "admin", c.User())
	require.True(t, strings.HasPrefix(c.HostKey(), "SHA256:"))

	_, err = dialSSH(t.Context(), s.at, "root", key)
	require.ErrorIs(t, err, errRefused)
	_, err = dialSSH(t.Context(), s.at, "admin", newSigner(t))
	require.ErrorIs(t, err, errRefused)
}

// A server that never answers does not hold a test.
func TestSSHHangs(t *testing.T) {
	key := newSigner(t)
	s := serve(t, key.PublicKey()) // without answers, but with SFTP
	c, err := dialSSH(t.Context(), s.at, "admin", key)
	require.NoError(t, err)
	require.NoError(t, c.SFTP(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Run(ctx, "sh -s", "")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = dialSSH(ctx, address{"127.0.0.1", silent.Addr().(*net.TCPAddr).Port}, "admin", key)
	require.Error(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
}
