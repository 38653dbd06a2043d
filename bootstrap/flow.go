// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package bootstrap is the agent that is baked into an image. It runs as a
// short plan of named stages, each from a boot hook of its own: it makes the
// machine reachable, installs RightLink if the launch asks for it, caches the
// launch's settings and enrols. Without platform settings it goes dormant.
//
// This file tells what happens, in order; the other files hold the details.
package bootstrap

import (
	"context"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
)

// Stage is one step of the plan. Every stage can be run again, and be killed at
// any instruction: what it does is written as a whole or not at all, and what
// says "done" is written last.
type Stage struct {
	// Name is the command of bootstrap and the name in the status file.
	Name string
	// Hook is the boot hook that runs the stage.
	Hook string
	// Network says that the stage waits for the network first, within a bound.
	Network bool
	// Needs are stages that must have succeeded in this boot. They are run
	// first where no init system keeps the order.
	Needs []string
	// Limit bounds the stage with all its retries.
	Limit time.Duration

	run func(*Agent, context.Context) (Outcome, error)
}

// Outcome is what a stage did.
type Outcome struct {
	Result status.Result
	// Detail is one line for people.
	Detail string
	// Changed lists what is different on the machine now.
	Changed []string
}

// Plan lists the stages in boot order.
func Plan() []Stage {
	return []Stage{
		// Before ssh: host keys if absent, growth of the root.
		{Name: "early", Hook: hooks.Early, Limit: 2 * time.Minute, run: (*Agent).early},
		// Whatever the platform does: the login key that was chosen at launch.
		{Name: "key", Hook: hooks.Key, Network: true, Limit: 10 * time.Minute, run: (*Agent).key},
		// 1: dormant or not; if not, install RightLink and start what follows.
		{Name: "rightimage", Hook: hooks.Image, Network: true, Limit: 30 * time.Minute, run: (*Agent).rightimage},
		// 2: first boot, reboot or clone; a clone forgets who it was.
		{Name: "rightboot", Hook: hooks.Boot, Network: true, Limit: 10 * time.Minute, run: (*Agent).rightboot},
		// 3: user-data and metadata into the spool; identity, host name, proxy.
		{Name: "rightscale", Hook: hooks.Scale, Network: true, Needs: []string{"rightboot"}, Limit: 10 * time.Minute, run: (*Agent).rightscale},
		// 4: enrol; the supervisor (systemd, or ours) runs the agent.
		{Name: "rightlink", Hook: hooks.Link, Network: true, Needs: []string{"rightscale"}, Limit: 15 * time.Minute, run: (*Agent).rightlink},
	}
}

// Find returns a stage by name.
func Find(name string) (Stage, bool) {
	for _, s := range Plan() {
		if s.Name == name {
			return s, true
		}
	}
	return Stage{}, false
}
