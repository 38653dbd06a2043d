// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command rightimage is the toolkit for cloud images: publish disks as AMIs,
// sweep up what interrupted builds left, and try it all in a local cloud.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errLeft) && !errors.Is(err, errFindings) {
		fmt.Fprintln(os.Stderr, "rightimage:", err)
	}
	os.Exit(exitCode(ctx, err))
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "rightimage",
		Short:         "Tools for cloud images that configure themselves",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.String(),
	}
	root.SetVersionTemplate("rightimage {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(installCommand(), publishCommand(), sweepCommand(), localCommand(), mirrorCommand(), verifyCommand(), cleanCommand(), sbomCommand(), attestCommand(), diffCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "rightimage", version.String())
			return err
		},
	}
}
