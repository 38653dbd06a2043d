// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// scriptPrefix begins the name of a script's file in its directory.
const scriptPrefix = "__script-"

// Times around the end of a script.
const (
	// settle is how long output may be silent before a finished script's
	// output counts as complete; its children may write later still.
	settle = 150 * time.Millisecond
	// grace lies between SIGTERM and SIGKILL when a script runs out of time.
	grace = 5 * time.Second
	// busyTries and busyPause bound the wait for a writer of the script file
	// that another start has inherited for a moment.
	busyTries = 20
	busyPause = 20 * time.Millisecond
)

// ErrNoInterpreter says that a script cannot be executed as it is.
var ErrNoInterpreter = errors.New("a script must begin with a line such as #!/bin/bash")

// process is one script, ready to run.
type process struct {
	scratch string // where the script's directory is made
	number  int
	source  string
	// links are the attachments: file name to file.
	links map[string]string
	// env is told the script's directory.
	env    func(dir string) []string
	output io.Writer
	log    *slog.Logger
}

// run executes the script in a directory of its own, which is removed
// afterwards, and waits for it; its children may go on. When the context ends
// the whole process group is ended.
func (p process) run(ctx context.Context) (err error) {
	source, err := executable(p.source)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.scratch, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(p.scratch, "rll-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for name, file := range p.links {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, fmt.Sprintf("%s%d", scriptPrefix, p.number))
	if err := atomicfile.Write(path, []byte(source), 0o700); err != nil {
		return err
	}
	return p.execute(ctx, dir, path)
}

// executable returns the source as execve takes it.
func executable(source string) (string, error) {
	if !strings.HasPrefix(source, "#!") {
		first, _, _ := strings.Cut(source, "\n")
		return "", fmt.Errorf("%w; this one begins with %.40q", ErrNoInterpreter, first)
	}
	if strings.HasPrefix(source, "#!/") {
		source = "#! " + source[2:]
	}
	return source, nil
}

func (p process) execute(ctx context.Context, dir, path string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd, err := p.start(dir, path, write)
	_ = write.Close() // the script and its children hold the other copies
	if err != nil {
		_ = read.Close()
		return err
	}
	activity := make(chan struct{}, 1)
	drained := make(chan struct{})
	go func() { // lives until the last child has closed its output
		defer close(drained)
		defer func() { _ = read.Close() }()
		copyOutput(p.output, read, activity)
	}()
	stop := context.AfterFunc(ctx, func() { p.kill(cmd.Process.Pid) })
	err = cmd.Wait()
	stop()
	quiet(drained, activity)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return err
}

// start starts the script; the command's output is a file, so that Wait does
// not wait for children that keep it open.
func (p process) start(dir, path string, output *os.File) (*exec.Cmd, error) {
	for try := 0; ; try++ {
		cmd := exec.Command(path) //nolint:noctx // ending the group is done here
		cmd.Dir, cmd.Env = dir, p.env(dir)
		cmd.Stdout, cmd.Stderr = output, output
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		err := cmd.Start()
		switch {
		case err == nil:
			return cmd, nil
		case errors.Is(err, syscall.ETXTBSY) && try < busyTries:
			time.Sleep(busyPause)
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOEXEC):
			line, _, _ := strings.Cut(p.source, "\n")
			if strings.HasSuffix(line, "\r") {
				return nil, fmt.Errorf("start the script: it has Windows line ends (CR LF); save it with Unix ones: %w", err)
			}
			return nil, fmt.Errorf("start the script: its interpreter %q does not exist on this machine: %w", strings.TrimSpace(strings.TrimPrefix(line, "#!")), err)
		default:
			return nil, fmt.Errorf("start the script: %w", err)
		}
	}
}

func (p process) kill(pid int) {
	p.log.Warn("ending a script's process group", "pid", pid)
	_ = syscall.Kill(-pid, syscall.SIGTERM)
	time.AfterFunc(grace, func() { _ = syscall.Kill(-pid, syscall.SIGKILL) })
}

func copyOutput(to io.Writer, from io.Reader, activity chan<- struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			_, _ = to.Write(buffer[:n])
			select {
			case activity <- struct{}{}:
			default:
			}
		}
		if err != nil {
			if r, ok := to.(*Redactor); ok {
				r.Flush()
			}
			return
		}
	}
}

// quiet waits until all output has come, or none has come for a moment.
func quiet(drained, activity <-chan struct{}) {
	limit := time.After(20 * settle)
	for {
		select {
		case <-drained:
			return
		case <-activity:
		case <-time.After(settle):
			return
		case <-limit:
			return
		}
	}
}
