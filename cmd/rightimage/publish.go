// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/fromfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

const publishHelp = `Make AMIs of a disk file: raw, qcow2 or vmdk. Its blocks go straight into an EBS
snapshot; there is no bucket, no import role and no instance.

    rightimage publish disk.raw --region eu-west-1 --ami-name web-1
    rightimage publish disk.qcow2 --region eu-west-1,us-east-1 --ami-name 'web-{{timestamp}}' \
      --family web --keep-newest 3 --ami-groups all --deprecate-after 365d --tags Team=web

Every option of the builders is a flag here (docs/publishing.md). Credentials
come from the environment, the shared files or the machine's role.

Ctrl-C removes everything that was made so far. After a crash or kill -9, the
same command goes on where the upload was.

Exit codes: 0 published; 1 failed, and nothing is left; 2 wrong options; 3 failed,
and what is left is listed; 130 stopped by a signal, and nothing is left.`

// publishFlags are the flags of "rightimage publish" besides the options.
type publishFlags struct {
	regions []string
	format  string
	tempDir string
	json    bool
	dryRun  bool
}

func publishCommand() *cobra.Command {
	var f publishFlags
	var given *options
	cmd := &cobra.Command{
		Use:   "publish DISK --region REGION --ami-name NAME",
		Short: "Make AMIs of a disk file",
		Long:  publishHelp,
		Args:  oneArgument("the disk file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.config(given)
			if err != nil {
				return usageError{err}
			}
			return runPublish(cmd, args[0], c, f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.regions, "region", nil, "region that gets the image; repeatable")
	flags.StringVar(&f.format, "disk-format", "", "raw, qcow2 or vmdk (default: recognised)")
	flags.StringVar(&f.tempDir, "temp-directory", "", "directory for the raw copy of a disk that is not raw (default: the disk's)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only check options, disk, and the state of the account in every region")
	flags.BoolVar(&f.json, "json", false, "print the result as JSON; everything else goes to standard error")
	// Keys on a command line can be read by everybody on the machine.
	given = addOptions(flags, publish.Config{}, "region", "regions", "access_key", "secret_key", "token", "tag", "snapshot_tag", "skip_create_ami")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

// config reads and checks the options as a template's are.
func (f publishFlags) config(given *options) (publish.Config, error) {
	var c publish.Config
	if len(f.regions) == 0 {
		return c, errors.New("--region: name the region, or regions, that get the image")
	}
	given.values["regions"] = f.regions
	var ctx interpolate.Context
	err := config.Decode(&c, &config.DecodeOpts{
		Interpolate:        true,
		InterpolateContext: &ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: publish.Late()},
	}, given.values)
	c.TemplateContext = ctx
	c.TemplateData = map[string]any{} // of a disk nothing else is known
	return c, errors.Join(append([]error{err}, c.PrepareDisk()...)...)
}

func runPublish(cmd *cobra.Command, disk string, c publish.Config, f publishFlags) error {
	// A closed terminal stops the run like Ctrl-C; a closed pipe must not end the
	// process before it has removed what it made.
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	factory, err := awsx.New(ctx, c.AWS())
	if err != nil {
		return err
	}
	ui := newProgress(cmd.ErrOrStderr())
	defer ui.Close()
	job := fromfile.Job{Path: disk, Format: f.format, Config: c, TempDir: f.tempDir, UI: ui}
	if f.dryRun {
		if err := job.Check(ctx, factory); err != nil {
			return err
		}
		ui.Say("Nothing stands in the way; nothing was made")
		return nil
	}
	result, err := job.Publish(ctx, factory)
	if err != nil {
		return err
	}
	ui.Close()
	if f.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), result)
	return err
}

// oneArgument asks for exactly one argument, by its meaning.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("give exactly one argument: %s", what)}
		}
		return nil
	}
}

// wideUsage wraps the texts of flags.
const wideUsage = `Usage:
  {{.UseLine}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
`
