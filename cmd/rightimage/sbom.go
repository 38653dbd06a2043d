// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

const sbomHelp = `List what an image is made of, as a software bill of materials: the packages of dpkg,
apk and rpm, the Go programs, and the modules that these were built of. ROOT is a
directory: a mounted disk, a chroot, or / for this machine. A raw disk is mounted
read-only, which needs root. Databases of rpm are read with the program rpm.

    rightimage sbom disk.raw -o disk.sbom.cdx.json
    rightimage sbom /mnt/image --format table

The bill is CycloneDX 1.6; scanners find known holes by its package URLs. Equal images
have equal bills: a time is in it with --time, or SOURCE_DATE_EPOCH, alone.

Exit codes: 0 written; 1 the image could not be read; 2 wrong flags; 130 stopped by a
signal.`

// sbomFormats are the forms of a bill of materials.
func sbomFormats() []string { return []string{"cyclonedx", "cyclonedx-xml", "table"} }

func sbomCommand() *cobra.Command {
	var format, output, name, at string
	var asJSON, noPrograms bool
	cmd := &cobra.Command{
		Use:   "sbom ROOT|DISK.raw",
		Short: "List the packages of an image",
		Long:  sbomHelp,
		Args:  oneArgument("the directory of the image, or a raw disk"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "cyclonedx"
			}
			if !slices.Contains(sbomFormats(), format) {
				return usageError{fmt.Errorf("--format: %q is not known; it is one of %s", format, strings.Join(sbomFormats(), ", "))}
			}
			about := sbom.About{Name: name}
			if name == "" {
				about.Name = filepath.Base(args[0])
			}
			var err error
			if about.Time, err = billTime(at); err != nil {
				return usageError{err}
			}
			inv, err := inventoryOf(cmd.Context(), args[0], sbom.Options{SkipPrograms: noPrograms})
			if err != nil {
				return err
			}
			for _, note := range inv.Notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "note:", note)
			}
			var b bytes.Buffer
			if err := writeBill(&b, inv, about, format); err != nil {
				return err
			}
			if output == "" {
				_, err = cmd.OutOrStdout().Write(b.Bytes())
				return err
			}
			if err := atomicfile.Write(output, b.Bytes(), 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", output, inv)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&format, "format", "cyclonedx", "form of the list: "+strings.Join(sbomFormats(), ", "))
	flags.BoolVar(&asJSON, "json", false, "the same as --format cyclonedx")
	flags.StringVarP(&output, "output", "o", "", "`file` that gets the list; a summary is printed then")
	flags.StringVar(&name, "name", "", "name of the image in the list (default: that of ROOT)")
	flags.StringVar(&at, "time", "", "time of the build in the list, as RFC 3339 (default: SOURCE_DATE_EPOCH, or none)")
	flags.BoolVar(&noPrograms, "no-programs", false, "do not search for Go programs")
	cmd.SetUsageTemplate(wideUsage)
	return cmd
}

// billTime is the time that a bill of materials names: the zero time for none.
func billTime(text string) (time.Time, error) {
	if text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return t, fmt.Errorf("--time: %q is no time such as 2030-01-31T00:00:00Z", text)
		}
		return t, nil
	}
	return sourcedate.Env()
}

// inventoryOf lists what is in a directory or a raw disk.
func inventoryOf(ctx context.Context, target string, o sbom.Options) (inv *sbom.Inventory, err error) {
	err = withRoot(ctx, target, func(root string) error {
		inv, err = sbom.Read(ctx, root, o)
		return err
	})
	return inv, err
}

// withRoot lets look see the files of a directory, or of a raw disk that is
// mounted for it.
func withRoot(ctx context.Context, target string, look func(root string) error) error {
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return look(target)
	}
	return disk.Inspect(ctx, target, look)
}

func writeBill(w io.Writer, inv *sbom.Inventory, about sbom.About, format string) error {
	switch format {
	case "cyclonedx":
		return inv.WriteJSON(w, about)
	case "cyclonedx-xml":
		return inv.WriteXML(w, about)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tNAME\tVERSION\tARCH\tPATH")
	for _, p := range inv.Packages {
		if p.Kind == sbom.Golang && !p.Main {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Kind, p.Name, orDash(p.Version), orDash(p.Arch), orDash(p.Path))
	}
	return t.Flush()
}
