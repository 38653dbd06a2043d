// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/local/relay"
)

// relayCommand is "rightimage local relay": the program that QEMU starts for
// each connection of a guest. People have no use for it, so help hides it.
func relayCommand() *cobra.Command {
	return &cobra.Command{
		Use:           "relay unix:PATH|tcp:HOST:PORT",
		Short:         "Carry one guest connection between standard input/output and a server",
		Hidden:        true,
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return relay.Run(cmd.Context(), args[0], os.Stdin, relay.Stdout{File: os.Stdout})
		},
	}
}
