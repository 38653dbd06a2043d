// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// shell is a connection to the machine.
type shell interface {
	// Run runs a command with a standard input and returns what it prints.
	Run(ctx context.Context, command, input string) (string, error)
	// SFTP reports whether files can be copied.
	SFTP(ctx context.Context) error
	// User is who is logged in, HostKey the fingerprint of the server.
	User() string
	HostKey() string
	Close()
}

// dialer logs in.
type dialer func(ctx context.Context, to address, user string, key ssh.Signer) (shell, error)

// errRefused is a server that does not let the key in for a user.
var errRefused = errors.New("refused")

// asRoot is the command that runs a script from its input as root.
const asRoot = `if [ "$(id -u)" = 0 ]; then exec sh -s; else exec sudo -n sh -s; fi`

// How long a connection may take to come about, and how much is read of it.
const (
	dialLimit  = 20 * time.Second
	mostOutput = 1 << 20
)

// connection is a shell by SSH.
type connection struct {
	client  *ssh.Client
	user    string
	hostKey string
}

// dialSSH logs in by SSH. The machine has made its host key a moment ago, and
// nobody could know it; that it stays is checked after the reboot.
func dialSSH(ctx context.Context, to address, user string, key ssh.Signer) (shell, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	target := net.JoinHostPort(to.host, strconv.Itoa(to.port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c := &connection{user: user}
	config := &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			c.hostKey = ssh.FingerprintSHA256(k)
			return nil
		},
	}
	inner, channels, requests, err := ssh.NewClientConn(conn, target, config)
	if err != nil {
		_ = conn.Close()
		if strings.Contains(err.Error(), "unable to authenticate") {
			return nil, errRefused
		}
		return nil, err
	}
	c.client = ssh.NewClient(inner, channels, requests)
	return c, nil
}

func (c *connection) User() string    { return c.user }
func (c *connection) HostKey() string { return c.hostKey }
func (c *connection) Close()          { _ = c.client.Close() }

// Run implements shell. What the command says on its standard error is only
// told when it fails.
func (c *connection) Run(ctx context.Context, command, input string) (string, error) {
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	session, err := c.client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close() //nolint:errcheck // it may have ended already
	out, complaint := &limited{}, &limited{}
	session.Stdin, session.Stdout, session.Stderr = strings.NewReader(input), out, complaint
	err = session.Run(command)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		said := strings.Join(strings.Fields(out.String()+" "+complaint.String()), " ")
		var exit *ssh.ExitError
		if errors.As(err, &exit) { // cloud-init's message to root comes with a status
			return "", fmt.Errorf("%w: %s", errRefused, clip(said, 120))
		}
		return "", err
	}
	return out.String(), nil
}

// SFTP implements shell.
func (c *connection) SFTP(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	session, err := c.client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // only asked
	if err := session.RequestSubsystem("sftp"); err != nil {
		return errors.New("the server has no SFTP")
	}
	return nil
}

// limited keeps the beginning of what is written into it: the machine is not
// trusted to stop.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := mostOutput - l.Len(); room > 0 {
		_, _ = l.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
