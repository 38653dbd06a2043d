// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/raw"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

const verifyHelp = `Find what must not be in a public image, and what would keep it from working: keys,
passwords, histories, identity, debris, drivers and boot loaders that fail in EC2.
It only reads. ROOT is a directory: a mounted disk, a chroot, or / for this machine.
A raw disk is searched below its file systems as well (deleted files, journals, swap,
gaps), and then mounted read-only, which needs root. An AMI or a snapshot is read
through the EBS direct APIs, only the blocks that it has.

    rightimage verify /mnt/image
    rightimage verify disk.raw --waivers waivers.yaml --format html --output report.html
    rightimage verify ami-0123456789abcdef0 --region eu-west-1
    rightimage verify / --private --fail-on warning
    DB_PASSWORD=… rightimage verify disk.raw --secret-env DB_PASSWORD

A file of waivers accepts findings, each with a reason and a last day:

    waivers:
      - id: acc-phone-home
        path: /etc/cron.d/backup
        reason: the image's own backup, in its documentation
        expires: 2027-06-30

The checks: rightimage verify --list; docs/verify.md explains them.

Exit codes: 0 nothing of the severity of --fail-on; 1 the image could not be looked at;
2 wrong flags; 4 there are findings of that severity or worse; 130 stopped by a signal.`

// verifyFlags are the flags of "rightimage verify".
type verifyFlags struct {
	format, output string
	json           bool
	waivers        string
	failOn         string
	private        bool
	only, users    []string
	secretEnv      []string
	secretsFile    string
	noRaw, noTree  bool
	region         string
	profile        string
	tempDir        string
	list           bool
}

func verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify ROOT|DISK.raw|AMI|SNAPSHOT",
		Short: "Check an image before it becomes public",
		Long:  verifyHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return noArguments(cmd, args)
			}
			return oneArgument("the directory of the image, a raw disk, or the id of an AMI or snapshot")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.list {
				_, err := fmt.Fprint(cmd.OutOrStdout(), verify.Markdown())
				return err
			}
			return runVerify(cmd, args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.format, "format", "table", "form of the report: "+strings.Join(verify.Formats(), ", "))
	flags.BoolVar(&f.json, "json", false, "the same as --format json")
	flags.StringVarP(&f.output, "output", "o", "", "`file` that gets the report; a summary is printed then")
	flags.StringVar(&f.waivers, "waivers", "", "YAML `file` of findings that are accepted")
	flags.StringVar(&f.failOn, "fail-on", "blocker", "severity that makes the command fail: blocker, warning, info or never")
	flags.BoolVar(&f.private, "private", false, "judge as for a private image: what is only about publication is one severity lower")
	flags.StringSliceVar(&f.only, "check", nil, "make only this check; repeatable")
	flags.StringSliceVar(&f.users, "user", nil, "login user that the image is meant to have; repeatable")
	flags.StringSliceVar(&f.secretEnv, "secret-env", nil, "environment variable with a secret of the build, to be searched for; repeatable")
	flags.StringVar(&f.secretsFile, "secrets-file", "", "`file` of secrets to be searched for, as NAME=VALUE lines")
	flags.BoolVar(&f.noRaw, "no-raw", false, "do not search the blocks of a raw disk")
	flags.BoolVar(&f.noTree, "no-mount", false, "search only the blocks of a raw disk, which needs no root")
	flags.StringVar(&f.region, "region", "", "region of the AMI or snapshot (default: AWS_REGION, or the profile's)")
	flags.StringVar(&f.profile, "profile", "", "profile of the shared configuration files")
	flags.StringVar(&f.tempDir, "temp-directory", "", "directory for the copy of an AMI or snapshot whose files are looked at (default: TMPDIR)")
	flags.BoolVar(&f.list, "list", false, "list the checks")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

// errFindings says that the image has findings, which were written already.
var errFindings = errors.New("findings")

// options reads and checks the flags.
func (f verifyFlags) options() (verify.Options, error) {
	o := verify.Options{Public: !f.private, Only: f.only, Users: f.users, Now: time.Now()}
	var problems []error
	if !slices.Contains(verify.Formats(), f.format) {
		problems = append(problems, fmt.Errorf("--format: %q is not known; it is one of %s", f.format, strings.Join(verify.Formats(), ", ")))
	}
	if _, err := f.threshold(); err != nil {
		problems = append(problems, err)
	}
	for _, id := range f.only {
		if verify.Find(id) == nil {
			problems = append(problems, fmt.Errorf("--check: there is no check %q (rightimage verify --list)", id))
		}
	}
	if f.waivers != "" {
		list, err := verify.ReadWaivers(f.waivers)
		if err != nil {
			problems = append(problems, fmt.Errorf("--waivers: %w", err))
		}
		o.Waivers = list
	}
	needles, err := f.needles()
	o.Needles = needles
	return o, errors.Join(append(problems, err)...)
}

// threshold is the severity that fails; more than all of them for never.
func (f verifyFlags) threshold() (verify.Severity, error) {
	var s verify.Severity
	if f.failOn == "never" {
		return verify.Blocker + 1, nil
	}
	if err := s.UnmarshalText([]byte(f.failOn)); err != nil {
		return s, fmt.Errorf("--fail-on: %w, or never", err)
	}
	return s, nil
}

// needles are the secrets to search for. Their values never reach the command
// line, which everybody on the machine can read.
func (f verifyFlags) needles() ([]secrets.Needle, error) {
	var out []secrets.Needle
	var problems []error
	add := func(where, name, value string) {
		if len(value) < secrets.MinNeedle {
			problems = append(problems, fmt.Errorf("%s: %s is shorter than %d characters and would be found everywhere", where, name, secrets.MinNeedle))
			return
		}
		out = append(out, secrets.Needle{Name: name, Value: value})
	}
	for _, name := range f.secretEnv {
		add("--secret-env", name, os.Getenv(name))
	}
	if f.secretsFile != "" {
		text, err := os.ReadFile(f.secretsFile)
		if err != nil {
			problems = append(problems, fmt.Errorf("--secrets-file: %w", err))
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimRight(line, "\r\n")
			name, value, ok := strings.Cut(line, "=")
			switch {
			case line == "" || strings.HasPrefix(line, "#"):
			case !ok:
				problems = append(problems, errors.New("--secrets-file: every line is NAME=VALUE"))
			default:
				add("--secrets-file", name, value)
			}
		}
	}
	return out, errors.Join(problems...)
}

func runVerify(cmd *cobra.Command, target string, f verifyFlags) error {
	if f.json {
		f.format = "json"
	}
	o, err := f.options()
	if err != nil {
		return usageError{err}
	}
	ui := newProgress(cmd.ErrOrStderr())
	defer ui.Close()
	o.Progress = func(p verify.Progress) {
		ui.Line(fmt.Sprintf("%d files, %d MiB, %d findings so far", p.Files, p.Bytes>>20, p.Findings))
	}
	report, err := f.look(cmd.Context(), target, o, ui)
	if err != nil {
		return err
	}
	ui.Close()
	if err := f.write(cmd.OutOrStdout(), report); err != nil {
		return err
	}
	least, _ := f.threshold() // was checked before
	if len(report.Open(least)) > 0 {
		return errFindings
	}
	return nil
}

// look verifies whatever the target is. A file that is called like an AMI is a
// file.
func (f verifyFlags) look(ctx context.Context, target string, o verify.Options, ui *progress) (*verify.Report, error) {
	info, err := os.Stat(target)
	switch {
	case errors.Is(err, os.ErrNotExist) && inCloud.MatchString(target):
		return f.cloud(ctx, target, o, ui)
	case err != nil:
		return nil, err
	case info.IsDir():
		return verify.Run(ctx, target, o)
	}
	return f.disk(ctx, target, o, ui)
}

// rawOptions say how blocks are searched.
func (f verifyFlags) rawOptions(o verify.Options, ui *progress) raw.Options {
	return raw.Options{Public: o.Public, Needles: o.Needles, Waivers: o.Waivers, Now: o.Now, Progress: func(done, total int64) {
		ui.Line(fmt.Sprintf("blocks of the disk: %d of %d MiB", done>>20, total>>20))
	}}
}

// disk looks at a raw disk from below and from above.
func (f verifyFlags) disk(ctx context.Context, path string, o verify.Options, ui *progress) (*verify.Report, error) {
	report := &verify.Report{Target: path, Public: o.Public, Findings: []verify.Finding{}}
	if !f.noRaw {
		below, err := raw.Run(ctx, path, f.rawOptions(o, ui))
		if err != nil {
			return nil, err
		}
		report.Merge(below)
	}
	if f.noTree {
		return report, nil
	}
	err := disk.Inspect(ctx, path, func(root string) error {
		above, err := verify.Run(ctx, root, o)
		if err == nil {
			report.System = above.System
			report.Merge(above)
			report.Unused = unusedIn(report, o)
		}
		return err
	})
	return report, err
}

// unusedIn lists the waivers that no finding of the whole report needed.
func unusedIn(r *verify.Report, o verify.Options) []verify.Waiver {
	all := &verify.Report{Findings: slices.Clone(r.Findings)}
	all.Waive(o.Waivers, o.Now)
	return all.Unused
}

func (f verifyFlags) write(out io.Writer, r *verify.Report) error {
	if f.output == "" {
		return r.Write(out, f.format)
	}
	file, err := os.OpenFile(f.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(r.Write(file, f.format), file.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", f.output, r.Summary())
	return err
}
