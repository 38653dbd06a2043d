// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// commGuest is a Guest behind a Packer communicator.
type commGuest struct {
	comm packersdk.Communicator
	sudo bool
	tmp  string // directory in the guest that the login user may write
}

// connect finds out whether commands need sudo, and makes a directory for
// uploads.
func connect(ctx context.Context, comm packersdk.Communicator, useSudo config.Trilean) (*commGuest, error) {
	g := &commGuest{comm: comm}
	out, err := g.raw(ctx, "id -u")
	if err != nil || out.Code != 0 {
		return nil, fmt.Errorf("run a command in the guest: %w", errors.Join(err, out.failure()))
	}
	g.sudo = strings.TrimSpace(out.Stdout) != "0"
	if useSudo.True() || useSudo.False() {
		g.sudo = useSudo.True()
	}
	out, err = g.Run(ctx, "id -u")
	if err != nil {
		return nil, err
	}
	if out.Code != 0 || strings.TrimSpace(out.Stdout) != "0" {
		return nil, fmt.Errorf("the provisioner needs root in the guest: log in as root, or let the login user run sudo without a password (use_sudo = %v): %w", g.sudo, errNotRoot(out))
	}
	out, err = g.raw(ctx, "umask 077; mktemp -d /tmp/rightimage.XXXXXX")
	if err != nil || out.Code != 0 {
		return nil, fmt.Errorf("make a temporary directory in the guest: %w", errors.Join(err, out.failure()))
	}
	g.tmp = strings.TrimSpace(out.Stdout)
	return g, nil
}

func errNotRoot(out Output) error {
	if err := out.failure(); err != nil {
		return err
	}
	return fmt.Errorf("commands run as user id %s", strings.TrimSpace(out.Stdout))
}

// failure turns a non-zero exit into an error that carries what was printed.
func (o Output) failure() error {
	if o.Code == 0 {
		return nil
	}
	text := strings.TrimSpace(o.Stderr)
	if text == "" {
		text = strings.TrimSpace(o.Stdout)
	}
	return fmt.Errorf("exit status %d: %s", o.Code, text)
}

// raw runs a script as the login user.
func (g *commGuest) raw(ctx context.Context, script string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: "sh -c " + quote(script), Stdout: &stdout, Stderr: &stderr}
	if err := g.comm.Start(ctx, cmd); err != nil {
		return Output{}, err
	}
	done := make(chan int, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case code := <-done:
		return Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, nil
	case <-ctx.Done():
		return Output{}, ctx.Err()
	}
}

// Run implements Guest.
func (g *commGuest) Run(ctx context.Context, script string) (Output, error) {
	if g.sudo {
		script = "exec sudo -n sh -c " + quote(script)
	}
	return g.raw(ctx, script)
}

// Upload implements Guest: the login user receives the file, then root moves it
// into place.
func (g *commGuest) Upload(ctx context.Context, path string, r io.Reader, mode uint32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	staged := g.tmp + "/upload"
	if err := g.comm.Upload(staged, r, nil); err != nil {
		return fmt.Errorf("upload %s: %w", path, err)
	}
	script := fmt.Sprintf(`tidy() { rm -f %[3]s %[1]s; }; trap tidy EXIT; install -o 0 -g 0 -m %[4]o %[1]s %[3]s && mv -f %[3]s %[2]s`,
		quote(staged), quote(path), quote(path+".rightimage-new"), mode)
	out, err := g.Run(ctx, script)
	if err = errors.Join(err, out.failure()); err != nil {
		return fmt.Errorf("write %s in the guest: %w", path, err)
	}
	return nil
}

// close removes the temporary files in the guest.
func (g *commGuest) close(ctx context.Context) error {
	if g.tmp == "" {
		return nil
	}
	out, err := g.Run(ctx, "rm -rf "+quote(g.tmp))
	return errors.Join(err, out.failure())
}

// quote quotes a word for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
