// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command imagecheck is what the provisioner runs in a guest as its last act: it
// cleans a root directory and verifies it, and prints both as JSON. It reads what
// to do from its standard input, so that no secret is on a command line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rightimage/packer-plugin-rightimage/verify/guest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "imagecheck:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: imagecheck ROOT <options.json")
	}
	var o guest.Options
	d := json.NewDecoder(os.Stdin)
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return fmt.Errorf("read the options: %w", err)
	}
	result, err := guest.Run(ctx, os.Args[1], o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
