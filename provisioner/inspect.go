// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/internal/sourcedate"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/clean"
	"github.com/rightimage/packer-plugin-rightimage/verify/guest"
)

// InspectConfig says what the provisioner does as its last act.
type InspectConfig struct {
	// Clean the image: identity, credentials, histories, logs, leftovers. Default
	// true; see docs/verify.md. Provisioners that come later may make it dirty
	// again.
	Clean config.Trilean `mapstructure:"clean"`
	// Verify the image. Default true. On an image for everybody (`public`) a
	// blocker fails the build; else findings are told.
	Verify config.Trilean `mapstructure:"verify"`
	// The image will be launched by everybody. Default: what the builder says.
	Public config.Trilean `mapstructure:"public"`
	// Patterns of paths that the clean-up leaves alone.
	CleanKeep []string `mapstructure:"clean_keep"`
	// Accounts that the clean-up removes with their homes, such as the one that
	// Packer logs in with.
	RemoveUsers []string `mapstructure:"remove_users"`
	// What the clean-up does with free blocks: `trim` (the default), `zero` (fill
	// them where trim does not work), or `none`.
	FreeSpace string `mapstructure:"free_space"`
	// YAML file of findings that are accepted, each with a reason and a last day.
	WaiversFile string `mapstructure:"waivers_file"`

	waivers []verify.Waiver
}

// prepareInspect checks the options of the last act.
func (c *Config) prepareInspect() (problems []error) {
	switch clean.FreeSpace(c.FreeSpace) {
	case "", clean.Trim, clean.Zero, clean.None:
	default:
		problems = append(problems, fmt.Errorf("free_space: %q is not supported; it is trim, zero or none", c.FreeSpace))
	}
	for _, k := range c.CleanKeep {
		if !strings.HasPrefix(k, "/") {
			problems = append(problems, fmt.Errorf("clean_keep: %q is no path of an image; it begins with a slash", k))
		}
	}
	if c.WaiversFile != "" {
		list, err := verify.ReadWaivers(c.WaiversFile)
		if err != nil {
			problems = append(problems, fmt.Errorf("waivers_file: %w", err))
		}
		c.waivers = list
	}
	return problems
}

// errUnfit says that an image for everybody has blockers.
var errUnfit = errors.New("the image must not become public")

// lastAct is where the last act takes place.
type lastAct struct {
	root string // of the image, as the guest names it
	tmp  string // directory of the build in the guest
	// program returns what runs there, for an architecture.
	program func(arch string) ([]byte, error)
}

// inspect runs our program in the guest: it cleans, then verifies.
func (l lastAct) inspect(ctx context.Context, g Guest, c Config, public bool, ui Reporter) error {
	o := guest.Options{
		Clean: !c.Clean.False(), Verify: !c.Verify.False(), Public: public, Keep: append([]string{l.tmp, "/tmp/packer-*", "/tmp/script_*"}, c.CleanKeep...),
		RemoveUsers: c.RemoveUsers, FreeSpace: clean.FreeSpace(c.FreeSpace), Waivers: c.waivers,
	}
	if c.LoginUser != "" {
		o.Users = []string{c.LoginUser}
	}
	date, err := sourcedate.Env()
	if err != nil {
		return err
	}
	if !date.IsZero() {
		o.SourceDate = date.Unix()
	}
	if !o.Clean && !o.Verify {
		return nil
	}
	facts, err := recognise(ctx, g)
	if err != nil {
		return err
	}
	program, err := l.program(facts.Arch)
	if err != nil {
		return err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return err
	}
	path := l.tmp + "/imagecheck"
	if err := errors.Join(g.Upload(ctx, path, bytes.NewReader(program), 0o700), g.Upload(ctx, path+".json", bytes.NewReader(options), 0o600)); err != nil {
		return err
	}
	out, err := g.Run(ctx, fmt.Sprintf("%s %s <%s", quote(path), quote(l.root), quote(path+".json")))
	if err = errors.Join(err, out.failure()); err != nil {
		return fmt.Errorf("clean and verify the image: %w", err)
	}
	var r guest.Result
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		return fmt.Errorf("read what imagecheck found: %w", err)
	}
	return tell(r, public, ui)
}

// tell says what was done, and refuses an image for everybody that has blockers.
func tell(r guest.Result, public bool, ui Reporter) error {
	if r.Clean != nil {
		ui.Say(fmt.Sprintf("Cleaned: %d changes %s", len(r.Clean.Changes), r.Clean.Freed))
		if r.Clean.Dated > 0 {
			ui.Say(fmt.Sprintf("  set back the times of %d paths to SOURCE_DATE_EPOCH", r.Clean.Dated))
		}
		for _, ch := range r.Clean.Changes {
			ui.Say("  " + ch.Action + " " + ch.Path)
		}
		for _, n := range r.Clean.Notes {
			ui.Say("  " + n)
		}
	}
	if r.Report == nil {
		return nil
	}
	ui.Say("Verified: " + r.Report.Summary())
	for _, f := range r.Report.Open(verify.Warning) {
		ui.Say(strings.TrimSpace(fmt.Sprintf("  %s: %s: %s %s", f.Severity, f.Check, f.Where(), f.Evidence)))
	}
	if n := len(r.Report.Open(verify.Blocker)); public && n > 0 {
		return fmt.Errorf("%w: %d blockers are listed above; remove their cause, or accept them in waivers_file with a reason", errUnfit, n)
	}
	return nil
}
