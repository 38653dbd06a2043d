// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/raw"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

// VerifyConfig says how a disk is looked at before it is published.
type VerifyConfig struct {
	// YAML file of findings that are accepted, each with a reason and a last day
	// (see `rightimage verify`).
	WaiversFile string `mapstructure:"waivers_file"`
	// Do not search the blocks of the disk for secrets before it is published. A
	// public image is refused when there are any; a private one warns.
	SkipDiskScan bool `mapstructure:"skip_disk_scan"`
}

// prepareVerify reads the waivers, so that their mistakes are told before
// anything is built.
func (c *Config) prepareVerify() error {
	if c.WaiversFile == "" {
		return nil
	}
	if _, err := verify.ReadWaivers(c.WaiversFile); err != nil {
		return fmt.Errorf("waivers_file: %w", err)
	}
	return nil
}

// Everybody reports whether everybody will be able to read the image's disk.
func (c Config) Everybody() bool { return c.public() || c.publicSnapshots() }

// Inspect searches the blocks of a raw disk for what must not be published: keys
// in deleted files, journals and swap areas, and the secrets of this build. A
// disk for everybody is refused; of any other disk the findings are told.
func (c Config) Inspect(ctx context.Context, path string, say func(string)) error {
	if c.SkipDiskScan {
		return nil
	}
	o := raw.Options{Public: c.Everybody(), Now: time.Now()}
	if c.WaiversFile != "" {
		list, err := verify.ReadWaivers(c.WaiversFile)
		if err != nil {
			return fmt.Errorf("waivers_file: %w", err)
		}
		o.Waivers = list
	}
	for i, s := range append(c.Secrets(), c.BuildSecrets...) {
		o.Needles = append(o.Needles, secrets.Needle{Name: fmt.Sprintf("secret %d", i+1), Value: s})
	}
	report, err := raw.Run(ctx, path, o)
	if err != nil {
		return fmt.Errorf("search the disk: %w", err)
	}
	say(fmt.Sprintf("Searched the blocks of the disk: %s", report.Summary()))
	blockers := report.Open(verify.Blocker)
	if c.Everybody() && len(blockers) > 0 {
		return &UnfitError{blockers}
	}
	for _, f := range report.Open(verify.Warning) {
		say("  " + line(f))
	}
	return nil
}

func line(f verify.Finding) string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s: %s %s", f.Severity, f.Check, f.Where(), f.Evidence))
}

// UnfitError says why a disk cannot become public.
type UnfitError struct {
	Findings []verify.Finding
}

func (e *UnfitError) Error() string {
	text := "the disk must not become public, and nothing was made:"
	for _, f := range e.Findings {
		text += "\n  " + line(f) + "; " + f.Remedy
	}
	return text + "\nwaivers_file accepts a finding with a reason; ami_groups and snapshot_groups make an image public"
}

// inspect is Inspect unless the builder has done it already.
func (p *Publisher) inspect(ctx context.Context, path string) error {
	if p.Inspected {
		return nil
	}
	if err := p.Inspect(ctx, path, func(text string) { p.say("%s", text) }); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}
