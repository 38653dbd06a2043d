// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

const diffHelp = `Say how two images differ: packages with their versions, configuration, other files and
size. Each is a directory or a raw disk, which is mounted read-only and needs root.
Times do not count; files that packages bring are counted, and not listed.

    rightimage diff old.raw new.raw
    rightimage diff old.raw new.raw --format markdown >>release-notes.md

Exit codes: 0 compared (also when they differ); 1 an image could not be read; 2 wrong
flags; 4 they differ, and --exit-code is given; 130 stopped by a signal.`

func diffCommand() *cobra.Command {
	var format, output string
	var asJSON, code, noPrograms bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say how two images differ",
		Long:  diffHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("give exactly two arguments: the old image and the new one, each a directory or a raw disk")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "json"
			}
			if !slices.Contains(imagediff.Formats(), format) {
				return usageError{fmt.Errorf("--format: %q is not known; it is one of %s", format, strings.Join(imagediff.Formats(), ", "))}
			}
			var r *imagediff.Result
			err := withRoot(cmd.Context(), args[0], func(from string) error {
				return withRoot(cmd.Context(), args[1], func(to string) (err error) {
					r, err = imagediff.Compare(cmd.Context(), from, to, sbom.Options{SkipPrograms: noPrograms})
					return err
				})
			})
			if err != nil {
				return err
			}
			r.From.Target, r.To.Target = args[0], args[1]
			if err := writeDiff(cmd, r, format, output); err != nil {
				return err
			}
			if code && !r.Same() {
				return errFindings
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&format, "format", "table", "form of the result: "+strings.Join(imagediff.Formats(), ", "))
	flags.BoolVar(&asJSON, "json", false, "the same as --format json")
	flags.StringVarP(&output, "output", "o", "", "`file` that gets the result; a summary is printed then")
	flags.BoolVar(&code, "exit-code", false, "end with 4 when they differ")
	flags.BoolVar(&noPrograms, "no-programs", false, "do not search for Go programs")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

func writeDiff(cmd *cobra.Command, r *imagediff.Result, format, output string) error {
	if output == "" {
		return r.Write(cmd.OutOrStdout(), format)
	}
	var b bytes.Buffer
	if err := r.Write(&b, format); err != nil {
		return err
	}
	if err := atomicfile.Write(output, b.Bytes(), 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", output, r.Summary())
	return err
}
