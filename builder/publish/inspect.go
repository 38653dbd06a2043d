// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/raw"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
	"github.com/rightimage/packer-plugin-rightimage/verify/snapshot"
)

// VerifyConfig says how an image is looked at before anybody else gets it.
type VerifyConfig struct {
	// Launches the new image, looks at the machine, and terminates it, before
	// the image is copied, shared or public. On by default for public images.
	BootTest boottest.Config `mapstructure:"boot_test"`
	// YAML file of findings that are accepted, each with a reason and a last day
	// (see `rightimage verify`).
	WaiversFile string `mapstructure:"waivers_file"`
	// Do not search the blocks of the disk, or of the snapshots of a machine, for
	// secrets before they are published. A public image is refused when there are
	// any; a private one warns.
	SkipDiskScan bool `mapstructure:"skip_disk_scan"`
}

// prepareVerify reads the waivers, so that their mistakes are told before
// anything is built, and checks the options of the boot test.
func (c *Config) prepareVerify() error {
	var p problems
	c.BootTest.Prepare(p.add)
	if _, err := c.waivers(); err != nil {
		p = append(p, err)
	}
	return p.join()
}

// waivers reads the file of accepted findings; there may be none.
func (c Config) waivers() ([]verify.Waiver, error) {
	if c.WaiversFile == "" {
		return nil, nil
	}
	list, err := verify.ReadWaivers(c.WaiversFile)
	if err != nil {
		return nil, fmt.Errorf("waivers_file: %w", err)
	}
	return list, nil
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
	o, err := c.searchOptions()
	if err != nil {
		return err
	}
	report, err := raw.Run(ctx, path, o)
	if err != nil {
		return fmt.Errorf("search the disk: %w", err)
	}
	return c.judge("the disk", report, say)
}

// searchOptions say what is searched for.
func (c Config) searchOptions() (raw.Options, error) {
	o := raw.Options{Public: c.Everybody(), Now: time.Now()}
	var err error
	o.Waivers, err = c.waivers()
	for i, s := range append(c.Secrets(), c.BuildSecrets...) {
		o.Needles = append(o.Needles, secrets.Needle{Name: fmt.Sprintf("secret %d", i+1), Value: s})
	}
	return o, err
}

// judge tells what was found, and refuses what everybody would read.
func (c Config) judge(what string, report *verify.Report, say func(string)) error {
	say(fmt.Sprintf("Searched the blocks of %s: %s", what, report.Summary()))
	blockers := report.Open(verify.Blocker)
	if c.Everybody() && len(blockers) > 0 {
		return &UnfitError{what, blockers}
	}
	for _, f := range report.Open(verify.Warning) {
		say("  " + line(f))
	}
	return nil
}

func line(f verify.Finding) string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s: %s %s", f.Severity, f.Check, f.Where(), f.Evidence))
}

// UnfitError says why an image cannot become public.
type UnfitError struct {
	// What was searched.
	What     string
	Findings []verify.Finding
}

func (e *UnfitError) Error() string {
	text := e.What + " must not become public, and nothing was made that stays:"
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

// searchSnapshots searches the snapshots of a machine's image, block by block,
// before anybody else gets them. A disk was searched before it was uploaded.
func (p *Publisher) searchSnapshots(ctx context.Context, b *build) error {
	r, i := p.regions[0], b.first
	if i == nil {
		i = b.images[r]
	}
	if p.SkipDiskScan || i.upload != nil {
		return nil
	}
	o, err := p.searchOptions()
	if err != nil {
		return err
	}
	for _, id := range i.snapshotIDs() {
		p.say("%s: searching the blocks of %s for secrets", r.name, id)
		report, err := search(ctx, r, id, o)
		switch {
		case err == nil:
			err = p.judge("snapshot "+id, report, func(text string) { p.say("%s: %s", r.name, text) })
		case ctx.Err() == nil && !p.Everybody():
			p.say("%s: %s could not be searched: %v", r.name, id, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func search(ctx context.Context, r *region, id string, o raw.Options) (*verify.Report, error) {
	disk, err := snapshot.Open(ctx, r.blocks, id, snapshot.Options{NotYet: r.notYet})
	if err != nil {
		return nil, r.explain("read snapshot "+id+" (skip_disk_scan = true leaves this out)", r.name, err)
	}
	defer disk.Close() //nolint:errcheck // only read
	report, err := raw.Search(ctx, disk, id, o)
	return report, r.explain("read snapshot "+id+" (skip_disk_scan = true leaves this out)", r.name, err)
}

// SensitiveValues are the values of variables that a template marks as sensitive:
// they are searched for, and must be nowhere in an image.
func SensitiveValues(c common.PackerConfig) []string {
	var out []string
	for _, name := range c.PackerSensitiveVars {
		if value := c.PackerUserVars[name]; len(value) >= secrets.MinNeedle {
			out = append(out, value)
		}
	}
	return out
}
