// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import "errors"

// embedded are the agents that the plugin carries.
type embedded struct{}

var _ Agents = embedded{}

// Bootstrap implements Agents.
func (embedded) Bootstrap(arch string) ([]byte, error) { return nil, errors.ErrUnsupported }

// Packages implements Agents.
func (embedded) Packages(arch string) ([]Package, error) { return nil, errors.ErrUnsupported }
