// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/builder/sweep"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

const sweepHelp = `Find what interrupted builds and publications left in the account, and remove it
with --delete: temporary machines, volumes, groups, keys, launch templates,
fleets, roles and profiles of builds; uploads that never ended, snapshots that no
image uses, staging images and images that never became available.

Everything is found by the tags that we give (rightimage:temporary,
rightimage:publish-id). An image that is available and no staging image, and a
snapshot that an image uses, are never touched.

    rightimage sweep                                 # show, in all regions
    rightimage sweep --region eu-west-1 --delete
    rightimage sweep --older-than 72h --json

Exit codes: 0 nothing is left; 1 something could not be searched; 2 wrong flags;
3 there are leftovers still; 130 stopped by a signal.`

// sweepFlags are the flags of "rightimage sweep" besides the options.
type sweepFlags struct {
	regions    []string
	olderThan  time.Duration
	catalogues []string
	delete     bool
	skipIAM    bool
	json       bool
}

func sweepCommand() *cobra.Command {
	var f sweepFlags
	var given *options
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Find and remove what interrupted builds left",
		Long:  sweepHelp,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			access, err := f.access(given)
			if err != nil {
				return usageError{err}
			}
			return runSweep(cmd, access, f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.regions, "region", nil, "region to search; repeatable (default: all that are enabled)")
	flags.DurationVar(&f.olderThan, "older-than", sweep.DefaultAge, "least age of a leftover; no build may run longer")
	flags.BoolVar(&f.delete, "delete", false, "remove the leftovers; without it they are only shown")
	flags.StringArrayVar(&f.catalogues, "catalogue-file", nil, "catalogue whose snapshots are kept; repeatable")
	flags.BoolVar(&f.skipIAM, "skip-iam", false, "leave out roles and instance profiles")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	given = addOptions(flags, publish.AccessConfig{}, "region", "access_key", "secret_key", "token")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

func (f sweepFlags) access(given *options) (awsx.Config, error) {
	var c publish.Config
	if f.olderThan < 0 {
		return awsx.Config{}, fmt.Errorf("--older-than: must not be negative, is %s", f.olderThan)
	}
	if err := config.Decode(&c, &config.DecodeOpts{}, given.values); err != nil {
		return awsx.Config{}, err
	}
	c.Regions = f.regions
	return c.AWS(), nil
}

func runSweep(cmd *cobra.Command, access awsx.Config, f sweepFlags) error {
	ctx := cmd.Context()
	factory, err := awsx.New(ctx, access)
	if err != nil {
		return err
	}
	s := sweep.New(factory)
	s.OlderThan, s.SkipIAM = f.olderThan, f.skipIAM
	if s.Keep, err = keptSnapshots(f.catalogues); err != nil {
		return err
	}
	if len(f.regions) == 0 {
		if f.regions, err = sweep.Regions(ctx, factory.EC2("")); err != nil {
			return factory.Explain("list the regions (--region names some)", "this account", err)
		}
	}
	report := s.Find(ctx, f.regions)
	if f.delete && ctx.Err() == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "Removing %d leftovers\n", len(report.Leftovers))
		_ = s.Remove(ctx, report) // the report says the same, thing by thing
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		err = printSweep(cmd.OutOrStdout(), report, f)
	}
	return errors.Join(err, verdict(ctx, report))
}

// verdict turns a report into the command's end.
func verdict(ctx context.Context, r *sweep.Report) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(r.Problems) > 0:
		text := "not everything could be searched:"
		for _, p := range r.Problems {
			text += "\n  " + p.String()
		}
		return errors.New(text)
	case len(r.Left()) > 0:
		return errLeft
	default:
		return nil
	}
}

// keptSnapshots are those that catalogues list. A file that does not exist is a
// typing error here.
func keptSnapshots(files []string) ([]string, error) {
	var ids []string
	for _, path := range files {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("--catalogue-file: %w", err)
		}
		f, err := catalogue.Read(path)
		if err != nil {
			return nil, err
		}
		for _, e := range f.Entries {
			for _, i := range e.Images {
				ids = append(ids, i.SnapshotIDs...)
			}
		}
	}
	return ids, nil
}

// printSweep is the report for people.
func printSweep(out io.Writer, r *sweep.Report, f sweepFlags) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	last := "WITH --delete"
	if f.delete {
		last = "RESULT"
	}
	if len(r.Leftovers) > 0 {
		fmt.Fprintln(w, "KIND\tID\tREGION\tAGE\tWHY\t"+last)
	}
	for _, l := range r.Leftovers {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Kind, l.ID, orDash(l.Region), age(l.Created), l.Why, outcome(l, f.delete))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	left := len(r.Left())
	summary := fmt.Sprintf("%d leftovers", left)
	if f.delete {
		summary = fmt.Sprintf("%d leftovers removed, %d left", len(r.Leftovers)-left, left)
	}
	if r.Younger > 0 {
		summary += fmt.Sprintf("; %d younger than %s passed over", r.Younger, f.olderThan)
	}
	_, err := fmt.Fprintf(out, "%s; %d regions searched\n", summary, len(f.regions))
	return err
}

func outcome(l *sweep.Leftover, deleted bool) string {
	switch {
	case l.Removed:
		return "removed"
	case l.Error != "":
		return strings.Join(strings.Fields(l.Error), " ") + "; by hand: " + l.Remedy
	case l.Action == "":
		return "left to you: " + l.Remedy
	case deleted:
		return "not tried"
	default:
		return l.Action
	}
}

// age is for people: whole days, or hours below two of them.
func age(made time.Time) string {
	if made.IsZero() {
		return "-"
	}
	const day = 24 * time.Hour
	switch d := time.Since(made); {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}
