// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
)

// communicator runs provisioners in the chroot. It takes the place of the SDK's
// chroot.Communicator, which hands commands to a shell of this machine inside
// double quotes, so that $(…) in a command runs outside of the chroot, follows
// the image's links out of it, and cannot be cancelled.
type communicator struct {
	dir  string
	root wrapper
	ctx  context.Context // the build's: calls that come from Packer carry none

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup
}

var _ packersdk.Communicator = (*communicator)(nil)

var errClosed = errors.New("the chroot is closed")

func newCommunicator(ctx context.Context, dir string, root wrapper) *communicator {
	return &communicator{dir: dir, root: root, ctx: ctx}
}

// enter counts one running operation, unless the communicator is closed.
func (c *communicator) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	c.busy.Add(1)
	return nil
}

// close refuses further operations and waits a while for the running ones.
func (c *communicator) close(limit time.Duration) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { c.busy.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// guestEnv is the environment of commands in the chroot: this machine's own
// stays outside, but for the proxies, the terminal, and the date of reproducible
// builds, which makers of initramfs and accounts obey.
func guestEnv() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8",
	}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TERM", sourcedate.Variable} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// command prepares a shell command in the chroot. Its arguments are $1, $2, …
func (c *communicator) command(ctx context.Context, script string, args ...string) (*exec.Cmd, error) {
	argv := append([]string{"-i"}, guestEnv()...)
	argv = append(argv, "chroot", c.dir, "/bin/sh", "-c", script)
	if len(args) > 0 {
		argv = append(append(argv, "sh"), args...)
	}
	argv, err := c.root.argv("env", argv...)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	killGroup(cmd)
	cmd.WaitDelay = 2 * time.Second
	return cmd, nil
}

// Start implements packersdk.Communicator.
func (c *communicator) Start(ctx context.Context, remote *packersdk.RemoteCmd) error {
	if err := c.enter(); err != nil {
		return err
	}
	// Either context ends the command: the caller's, or the build's.
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	end := func() { stop(); cancel(); c.busy.Done() }

	cmd, err := c.command(ctx, remote.Command)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = remote.Stdin, remote.Stdout, remote.Stderr
		err = cmd.Start()
	}
	if err != nil {
		end()
		return err
	}
	go func() {
		defer end()
		remote.SetExited(exitStatus(cmd.Wait(), cmd))
	}()
	return nil
}

// exitStatus is the command's own status, or 1 when a signal ended it.
func exitStatus(err error, cmd *exec.Cmd) int {
	if code := cmd.ProcessState.ExitCode(); code >= 0 && (err == nil || code != 0) {
		return code
	}
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return 0
	}
	return 1
}

// do runs a script in the chroot to its end.
func (c *communicator) do(stdin io.Reader, stdout io.Writer, script string, args ...string) error {
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	cmd, err := c.command(c.ctx, script, args...)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &stderr
	if err := cmd.Run(); err != nil {
		if text := bytes.TrimSpace(stderr.Bytes()); len(text) > 0 {
			return fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// Upload implements packersdk.Communicator. A new file gets the mode of info.
func (c *communicator) Upload(dst string, r io.Reader, info *os.FileInfo) error {
	mode := os.FileMode(0o644)
	if info != nil {
		mode = (*info).Mode().Perm()
	}
	const script = `set -e; [ -e "$1" ] || { umask 077; : > "$1"; chmod "$2" "$1"; }; exec cat > "$1"`
	if err := c.do(r, nil, script, dst, fmt.Sprintf("%o", mode)); err != nil {
		return fmt.Errorf("upload %s: %w", dst, err)
	}
	return nil
}

// Download implements packersdk.Communicator.
func (c *communicator) Download(src string, w io.Writer) error {
	if err := c.do(nil, w, `exec cat < "$1"`, src); err != nil {
		return fmt.Errorf("download %s: %w", src, err)
	}
	return nil
}

// UploadDir implements packersdk.Communicator: without a slash at its end, src
// itself arrives in dst.
func (c *communicator) UploadDir(dst, src string, exclude []string) error {
	if len(exclude) > 0 {
		return errors.New("upload directory: excluding files is not supported in a chroot")
	}
	base := filepath.Clean(src)
	if src[len(src)-1] != '/' {
		dst = filepath.Join(dst, filepath.Base(base))
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(packDir(w, base)) }()
	defer r.Close() //nolint:errcheck // nothing to lose
	if err := c.do(r, nil, `set -e; mkdir -p "$1"; exec tar -x -p -o -f - -C "$1"`, dst); err != nil {
		return fmt.Errorf("upload directory %s: %w", src, err)
	}
	return nil
}

// DownloadDir implements packersdk.Communicator.
func (c *communicator) DownloadDir(src, dst string, exclude []string) error {
	if len(exclude) > 0 {
		return errors.New("download directory: excluding files is not supported in a chroot")
	}
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := unpackDir(r, dst)
		r.CloseWithError(err)
		done <- err
	}()
	err := c.do(nil, w, `exec tar -c -f - -C "$1" .`, src)
	w.CloseWithError(err)
	if err := errors.Join(err, <-done); err != nil {
		return fmt.Errorf("download directory %s: %w", src, err)
	}
	return nil
}
