// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// InstallHere does on this machine what the provisioner does in a guest. The
// options are those of a template; all mistakes in them are told at once. It
// needs root.
func InstallHere(ctx context.Context, options map[string]any, ui Reporter) ([]string, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("this needs root: run it with sudo")
	}
	var c Config
	if err := c.prepare(options); err != nil {
		return nil, err
	}
	return Install(ctx, here{}, embedded{}, c, ui)
}

// here is this machine as a guest.
type here struct{}

var _ Guest = here{}

func (here) Run(ctx context.Context, script string) (Output, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := Output{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out, nil
	}
	return out, err
}

func (here) Upload(_ context.Context, path string, r io.Reader, mode uint32) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.Write(path, data, fs.FileMode(mode))
}
