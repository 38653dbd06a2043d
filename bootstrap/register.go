// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
)

// RegisterOptions say what Register does.
type RegisterOptions struct {
	// Image writes all hook files and enables those of the image.
	Image bool
	// Remove stops the agent and takes hooks 2 to 4 out of the boot.
	Remove bool
	// Stages limits what is enabled or removed, by hook or stage name.
	Stages []string
}

// Register puts hooks into the boot, or takes them out, and returns what it
// changed. Without options it is what a RightLink package calls: hooks 2 to 4
// start at future boots.
func (a *Agent) Register(ctx context.Context, o RegisterOptions) ([]string, error) {
	if o.Image && o.Remove {
		return nil, errors.New("register: --image and --remove exclude each other; to remove everything use \"bootstrap uninstall\"")
	}
	names, err := hookNames(o.Stages)
	if err != nil {
		return nil, err
	}
	facts, _ := detect.Detect(a.Root) // hooks need the init system only
	m, err := a.hooks(facts)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Image:
		return m.RegisterImage(ctx, names...)
	case o.Remove:
		if len(names) == 0 {
			names = hooks.AgentHooks()
		}
		if slices.Contains(names, hooks.Link) {
			if err := m.StopAgent(ctx); err != nil {
				a.Log.Warn("stop RightLink", "error", err)
			}
		}
		return m.Deregister(ctx, names...)
	}
	changed, missing, err := m.RegisterAgent(ctx, names...)
	if len(missing) > 0 {
		a.Log.Warn("boot hooks without a file are left out", "hooks", strings.Join(missing, " "), "remedy", "bootstrap register --image")
	}
	return changed, err
}

// hookNames accepts names of hooks and of stages.
func hookNames(stages []string) ([]string, error) {
	var names []string
	for _, s := range stages {
		switch found, ok := Find(s); {
		case ok:
			names = append(names, found.Hook)
		case slices.Contains(hooks.Names(), s):
			names = append(names, s)
		default:
			return nil, fmt.Errorf("register: --stages: there is no stage %q; stages are %s", s, strings.Join(stageNames(), ", "))
		}
	}
	return names, nil
}

func stageNames() []string {
	var names []string
	for _, s := range Plan() {
		names = append(names, s.Name)
	}
	return names
}
