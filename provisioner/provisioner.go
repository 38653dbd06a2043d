// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package provisioner is the provisioner "rightimage": it puts the bootstrap
// agent, its hooks, hint files and RightLink's package into a machine, over any
// communicator.
package provisioner

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/agents"
)

// Provisioner is the provisioner "rightimage".
type Provisioner struct {
	config Config
}

var _ packersdk.Provisioner = (*Provisioner)(nil)

// ConfigSpec returns the options for HCL2 templates.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the template's options, and reports all problems at
// once.
func (p *Provisioner) Prepare(raws ...any) error { return p.config.prepare(raws...) }

// Provision makes the guest a RightImage. Running it again changes nothing.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, data map[string]any) error {
	guest, err := connect(ctx, comm, p.config.UseSudo)
	if err != nil {
		return err
	}
	defer func() {
		// The guest is tidied up when the build is cancelled, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := guest.close(ctx); err != nil {
			ui.Error(fmt.Sprintf("temporary files stay in the guest: %v", err))
		}
	}()
	changes, err := Install(ctx, guest, embedded{}, p.config, ui)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		ui.Say("RightImage: unchanged")
	} else {
		ui.Say(fmt.Sprintf("RightImage: %d changes", len(changes)))
	}
	for _, c := range changes {
		ui.Say("  " + c)
	}
	public := p.config.Public.True() || !p.config.Public.False() && fmt.Sprint(data["Everybody"]) == "true"
	return lastAct{"/", guest.tmp, agents.Imagecheck}.inspect(ctx, guest, p.config, public, ui)
}
