// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// sbin is added to PATH: users other than root often lack it, and mount,
// losetup and chroot live there.
const sbin = "/usr/local/sbin:/usr/sbin:/sbin"

// wrapper runs commands as root through the template of command_wrapper.
type wrapper struct {
	template string
	exec     run.Runner
}

// commandMark stands for the command while the template is rendered. The SDK
// renders its own output again until nothing changes, so that a command that
// holds braces must not pass through it.
const commandMark = "rightimage-command-mark"

// checkWrapper refuses templates that would drop the command.
func checkWrapper(template string) error {
	_, err := render(template, "")
	return err
}

func render(template, command string) (string, error) {
	line, err := interpolate.Render(template, &interpolate.Context{Data: struct{ Command string }{commandMark}})
	if err != nil {
		return "", fmt.Errorf("%q: %w", template, err)
	}
	if !strings.Contains(line, commandMark) {
		return "", fmt.Errorf("%q does not contain {{.Command}}", template)
	}
	return strings.ReplaceAll(line, commandMark, command), nil
}

// argv returns what to execute for a command. The untouched default needs no
// shell; anything else is a shell line that holds the quoted command.
func (w wrapper) argv(name string, args ...string) ([]string, error) {
	argv := append([]string{"env", "LC_ALL=C", "PATH=" + os.Getenv("PATH") + ":" + sbin, name}, args...)
	if w.template == defaultRootWrapper {
		return argv, nil
	}
	line, err := render(w.template, quoteAll(argv))
	if err != nil {
		return nil, fmt.Errorf("command_wrapper: %w", err)
	}
	return []string{"/bin/sh", "-c", line}, nil
}

// Run runs a command as root and returns its standard output.
func (w wrapper) Run(ctx context.Context, name string, args ...string) (string, error) {
	argv, err := w.argv(name, args...)
	if err != nil {
		return "", err
	}
	return w.exec.Run(ctx, argv[0], argv[1:]...)
}

// short gives a quick command, such as mount, the time to finish even when the
// build is cancelled meanwhile: killed half-way, nobody would know what it did.
func short(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// quick runs a command under short, unless the build is cancelled already.
func quick(ctx context.Context, r run.Runner, name string, args ...string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx, cancel := short(ctx)
	defer cancel()
	return r.Run(ctx, name, args...)
}

// quoteAll quotes arguments for a POSIX shell.
func quoteAll(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
