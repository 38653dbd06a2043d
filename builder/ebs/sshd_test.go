// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"
)

// sshd is an SSH server that lets in who allowed says, and answers every
// command with success.
type sshd struct {
	listener net.Listener
	allowed  func(user string, key gossh.PublicKey) bool

	mu       sync.Mutex
	commands []string
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newSSHD(t *testing.T, allowed func(string, gossh.PublicKey) bool) *sshd {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	host, err := gossh.NewSignerFromKey(private)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &sshd{listener: l, allowed: allowed}
	config := &gossh.ServerConfig{PublicKeyCallback: func(c gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
		if s.allowed(c.User(), key) {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
	config.AddHostKey(host)
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c, config) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *sshd) close() {
	_ = s.listener.Close()
	s.drop()
	s.wg.Wait()
}

// drop ends all connections.
func (s *sshd) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *sshd) ran() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *sshd) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *sshd) serve(c net.Conn, config *gossh.ServerConfig) {
	_, channels, requests, err := gossh.NewServerConn(c, config)
	if err != nil {
		_ = c.Close()
		return
	}
	s.wg.Go(func() { gossh.DiscardRequests(requests) })
	for open := range channels {
		if open.ChannelType() != "session" {
			_ = open.Reject(gossh.UnknownChannelType, "no")
			continue
		}
		channel, in, err := open.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			for r := range in {
				if r.WantReply {
					_ = r.Reply(r.Type == "exec", nil)
				}
				if r.Type != "exec" {
					continue
				}
				s.mu.Lock()
				s.commands = append(s.commands, string(r.Payload[4:]))
				s.mu.Unlock()
				_, _ = channel.SendRequest("exit-status", false, gossh.Marshal(struct{ Status uint32 }{0}))
				_ = channel.Close()
			}
		})
	}
}
