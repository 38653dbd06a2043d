// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package install makes a running machine what an image of ours is, and
// connects it to a platform: "rightimage install".
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/launchdata"
	"github.com/rightimage/packer-plugin-rightimage/provisioner"
)

// Options of Run.
type Options struct {
	// Provisioner are the options of the provisioner, as in a template. Without
	// a cloud the machine's own hint file stays, else bootstrap finds out.
	Provisioner map[string]any
	// Connect is where the platform shows the user-data for this machine: an
	// https address, or a file; empty for none.
	Connect string
	// AllowHTTP lets Connect be an http address of another machine.
	AllowHTTP bool
	// Start runs the stages now, without waiting for the next boot. Connect
	// implies it.
	Start bool
	// Force connects a machine that is connected already.
	Force bool
	// CA are further certificates (PEM) for Connect.
	CA []byte
	// Output gets what is said and what the stages print.
	Output io.Writer
}

// Paths on the machine.
const (
	cloudFile = "/etc/rightscale.d/cloud"
	stateFile = "/var/lib/rightscale/right_link/state.js"
	extraData = "/var/spool/rightscale/user-data.txt"
	bootstrap = "/opt/rightscale/bin/bootstrap"
)

// ErrConnected means that the machine has an agent that was enrolled.
var ErrConnected = errors.New("this machine is connected already")

// Run first gets everything that it needs from outside, so that a wrong address
// changes nothing; then it installs, and at last it connects.
func Run(ctx context.Context, o Options) error {
	data, err := o.userData(ctx)
	if err != nil {
		return err
	}
	if err := o.install(ctx); err != nil {
		return err
	}
	if data != nil {
		if err := atomicfile.WriteMkdir(extraData, data, 0o600, 0o755); err != nil {
			return fmt.Errorf("keep the user-data: %w", err)
		}
		o.say("user-data is in " + extraData)
	}
	if !o.Start && data == nil {
		o.say(`The stages run at the next boot; "rightimage install --start" runs them now.`)
		return nil
	}
	return o.start(ctx)
}

// userData fetches what the platform shows; nil without Connect.
func (o Options) userData(ctx context.Context) ([]byte, error) {
	if o.Connect == "" {
		return nil, nil
	}
	if _, err := os.Stat(stateFile); err == nil && !o.Force {
		return nil, fmt.Errorf("%w (%s exists); --force connects it anew", ErrConnected, stateFile)
	}
	raw, err := o.fetch(ctx)
	if errors.Is(err, launchdata.ErrClear) {
		err = fmt.Errorf("%w; --allow-http takes the risk", err)
	}
	if err != nil {
		return nil, fmt.Errorf("--connect: %w", err)
	}
	d := userdata.Parse(raw)
	if _, ok := d.Settings(); !ok {
		why := "it has no platform settings (RS_rn_id and so on)"
		if problems := d.Incomplete(); len(problems) > 0 {
			why = strings.Join(problems, ", ")
		}
		return nil, fmt.Errorf("--connect: what is there is no user-data of a platform: %s", why)
	}
	return raw, nil
}

func (o Options) install(ctx context.Context) error {
	options := map[string]any{}
	for k, v := range o.Provisioner {
		options[k] = v
	}
	if options["cloud"] == nil {
		options["cloud"] = "auto"
		if word, err := os.ReadFile(cloudFile); err == nil && len(strings.Fields(string(word))) > 0 {
			options["cloud"] = strings.Fields(string(word))[0]
		}
	}
	changes, err := provisioner.InstallHere(ctx, options, o)
	for _, c := range changes {
		o.say("  " + c)
	}
	if err == nil && len(changes) == 0 {
		o.say("everything was installed already")
	}
	return err
}

// Say prints a line.
func (o Options) Say(message string) { o.say(message) }

func (o Options) say(message string) { _, _ = fmt.Fprintln(o.Output, message) }

// startTime bounds the stages that are run now, the installation of RightLink
// from a slow mirror included.
const startTime = 30 * time.Minute

// start runs the stages as a boot would. The first one registers the others,
// and starts them where an init system runs.
func (o Options) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	// The answers of this boot so far may be those of another launch.
	if err := os.Remove(filepath.Join("/run/rightimage", "metadata.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Where hooks 2 and 3 ran in this boot without finding settings, starting
	// their services again does nothing.
	for _, stage := range []string{"rightboot", "rightscale"} {
		if err := command(ctx, o.Output, bootstrap, stage); err != nil {
			return err
		}
	}
	if err := command(ctx, o.Output, bootstrap, "rightimage"); err != nil {
		return fmt.Errorf("run the stages: %w; \"bootstrap status\" tells more", err)
	}
	return command(ctx, o.Output, bootstrap, "status")
}
