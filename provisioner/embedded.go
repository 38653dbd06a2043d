// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import "github.com/rightimage/packer-plugin-rightimage/internal/agents"

// embedded are the agents that the plugin carries.
type embedded struct{}

var _ Agents = embedded{}

// Bootstrap implements Agents.
func (embedded) Bootstrap(arch string) ([]byte, error) { return agents.Bootstrap(arch) }

// Packages implements Agents.
func (embedded) Packages(arch string) ([]Package, error) {
	all, err := agents.Packages(arch)
	if err != nil {
		return nil, err
	}
	out := make([]Package, len(all))
	for i, p := range all {
		out[i] = Package{Name: p.Name, Data: p.Data}
	}
	return out, nil
}
