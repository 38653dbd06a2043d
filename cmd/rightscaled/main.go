// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command rightscaled is the platform: "serve" answers RightLink agents, every
// other command administers the same data directory.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its surroundings as parameters. Exit codes: 0 done, 1 the
// command could not do it.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	if err := cmd.ExecuteContext(ctx); err != nil {
		lines := strings.Split(err.Error(), "\n")
		for _, line := range lines {
			_, _ = fmt.Fprintln(errOut, "rightscaled:", line)
		}
		return 1
	}
	return 0
}
