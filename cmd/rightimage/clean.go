// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
	"github.com/rightimage/packer-plugin-rightimage/verify/clean"
)

const cleanHelp = `Take out of an image what must not be in its copies: identity, credentials, histories,
logs, caches, leftovers of the build. ROOT is the directory of a mounted disk or a chroot;
on a machine that runs, / cleans the machine itself, which it should not outlive.

    rightimage clean /mnt/image --dry-run
    rightimage clean /mnt/image --record clean.json
    rightimage clean / --remove-user packer --free-space zero

What the image needs to boot stays, and a second run changes nothing. At the end the disk
is told which blocks are free (trim), so that nothing deleted is uploaded. With the
environment variable SOURCE_DATE_EPOCH no time in the image is later than that.

Exit codes: 0 clean; 1 something could not be done; 2 wrong flags; 130 stopped by a signal.`

func cleanCommand() *cobra.Command {
	var o clean.Options
	var free, record string
	var asJSON, yes bool
	cmd := &cobra.Command{
		Use:   "clean ROOT",
		Short: "Clean an image before it is published",
		Long:  cleanHelp,
		Args:  oneArgument("the directory of the image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.FreeSpace = clean.FreeSpace(free)
			var err error
			if o.SourceDate, err = sourcedate.Env(); err != nil {
				return usageError{err}
			}
			if err := checkClean(o, args[0], yes); err != nil {
				return usageError{err}
			}
			result, err := clean.Run(cmd.Context(), args[0], o)
			if result == nil {
				return err
			}
			if record != "" {
				err = errors.Join(err, writeRecord(record, result))
			}
			if asJSON {
				return errors.Join(err, result.WriteJSON(cmd.OutOrStdout()))
			}
			printClean(cmd, result)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.DryRun, "dry-run", false, "only show what would change")
	flags.StringVar(&record, "record", "", "`file` that gets each path changed, as JSON")
	flags.StringSliceVar(&o.RemoveUsers, "remove-user", nil, "account to remove with its home, such as the build tool's; repeatable")
	flags.StringSliceVar(&o.Keep, "keep", nil, "pattern of paths that stay, such as '/var/log/app*'; repeatable")
	flags.BoolVar(&o.KeepPackageCache, "keep-package-cache", false, "leave the caches of package tools")
	flags.StringVar(&free, "free-space", string(clean.Trim), "what is done with free blocks: trim, zero (fill them where trim does not work), none")
	flags.BoolVar(&asJSON, "json", false, "print the record as JSON")
	flags.BoolVar(&yes, "this-machine", false, "really clean the machine that this runs on; needed when ROOT is /")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

func checkClean(o clean.Options, root string, yes bool) error {
	var problems []error
	if all := []clean.FreeSpace{clean.Trim, clean.Zero, clean.None}; !slices.Contains(all, o.FreeSpace) {
		problems = append(problems, fmt.Errorf("--free-space: %q is not known; it is trim, zero or none", o.FreeSpace))
	}
	for _, k := range o.Keep {
		if _, err := path.Match(k, ""); err != nil || !strings.HasPrefix(k, "/") {
			problems = append(problems, fmt.Errorf("--keep: %q is no pattern of a path of the image; it begins with a slash", k))
		}
	}
	if slices.Contains(o.RemoveUsers, "root") {
		problems = append(problems, errors.New("--remove-user: root cannot be removed"))
	}
	here, err1 := os.Stat("/")
	there, err2 := os.Stat(root)
	if err1 == nil && err2 == nil && os.SameFile(here, there) && !yes && !o.DryRun {
		problems = append(problems, errors.New("this would clean the machine that it runs on, its keys and logs included; if that is meant, add --this-machine"))
	}
	return errors.Join(problems...)
}

func writeRecord(file string, r *clean.Result) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(r.WriteJSON(f), f.Close())
}

func printClean(cmd *cobra.Command, r *clean.Result) {
	out := cmd.OutOrStdout()
	for _, c := range r.Changes {
		fmt.Fprintf(out, "%s: %s %s\n", c.Step, c.Action, c.Path)
	}
	if r.Dated > 0 {
		fmt.Fprintf(out, "times: set back %d paths\n", r.Dated)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	verb := "changes"
	if r.DryRun {
		verb = "changes would be made"
	}
	fmt.Fprintf(out, "%d %s", len(r.Changes), verb)
	if r.Freed != "" {
		fmt.Fprintf(out, "; %s", r.Freed)
	}
	fmt.Fprintln(out)
}
