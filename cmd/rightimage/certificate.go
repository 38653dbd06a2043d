// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
)

const certificateHelp = `Print the certificate with which the local cloud of a state directory signs the
identity documents of its instances (PEM). A platform that is to believe them is
started with it:

    rightimage local certificate --output local.pem
    rightscaled serve --identity-certificates local.pem ...

The key and certificate are made at the first use and stay in the state directory,
so the command works before the local cloud has ever run, and while it runs.`

func certificateCommand(stateDir *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "certificate",
		Short: "Print the certificate that proves the identity documents of instances",
		Long:  certificateHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			authority, err := imds.OpenAuthority(*stateDir)
			if err != nil {
				return fmt.Errorf("--state %q: %w", *stateDir, err)
			}
			if output != "" {
				return atomicfile.Write(output, authority.Certificate(), 0o644)
			}
			_, err = cmd.OutOrStdout().Write(authority.Certificate())
			return err
		},
	}
	cmd.Flags().StringVar(&output, "output", "", "write to this `file` instead of standard output")
	return cmd
}
