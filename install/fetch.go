// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package install

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/launchdata"
)

// fetch reads a file, or what is at an address.
func (o Options) fetch(ctx context.Context) ([]byte, error) {
	if strings.Contains(o.Connect, "://") {
		return launchdata.Get(ctx, o.Connect, launchdata.Options{AllowHTTP: o.AllowHTTP, CA: o.CA})
	}
	f, err := os.Open(o.Connect)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return launchdata.Read(f)
}

// command runs a program whose output is the user's to see.
func command(ctx context.Context, out io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
