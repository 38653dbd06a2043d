// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import "context"

// Install makes a guest a RightImage and returns what it changed, one line
// each. It compares before it writes, so that a second run changes nothing.
func Install(ctx context.Context, g Guest, agents Agents, c Config, ui Reporter) ([]string, error) {
	facts, err := recognise(ctx, g)
	if err != nil {
		return nil, err
	}
	ui.Say("Guest: " + facts.String())

	plan, err := makePlan(facts, agents, c, ui)
	if err != nil {
		return nil, err
	}
	changes, err := plan.apply(ctx, g, facts)
	if err != nil {
		return changes, err
	}
	registered, err := register(ctx, g, ui)
	changes = append(changes, registered...)
	if err != nil || c.Mode != modePreinstalled {
		return changes, err
	}
	installed, err := installPackage(ctx, g, plan.chosen, ui)
	return append(changes, installed...), err
}
