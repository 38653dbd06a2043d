// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
	"github.com/rightimage/packer-plugin-rightimage/internal/publicip"
)

// echoTries is how often this machine's public address is asked for.
const echoTries = 3

// openTo returns the CIDR blocks that a temporary security group lets in: those
// of the template; this machine's loopback when the cloud is on it; the VPC's
// own when the machine is reached by its private address; else this machine's
// public address.
func (s *site) openTo(ctx context.Context, client *http.Client, c NetworkConfig, p place) ([]string, error) {
	switch {
	case p.iface == sessionManager:
		return nil, nil // the tunnel comes from inside
	case len(c.TemporarySGCIDRs) > 0:
		return c.TemporarySGCIDRs, nil
	case s.local:
		return []string{localcloud.LoopbackBlock}, nil
	case p.iface == privateIP || p.iface == privateDNS:
		return p.vpcCIDRs, nil
	}
	var addr netip.Addr
	w := s.waiter
	w.Attempts, w.Delay, w.Deadline = echoTries, time.Second, 0
	var last error
	err := w.Until(ctx, "the public address of this machine", func(ctx context.Context) (bool, error) {
		addr, last = publicip.Lookup(ctx, client, c.PublicIPURL)
		return last == nil, nil
	})
	if err != nil {
		if last != nil && ctx.Err() == nil {
			err = last
		}
		return nil, fmt.Errorf("find this machine's public address: %w: set temporary_security_group_source_cidrs, or another public_ip_url", err)
	}
	return []string{netip.PrefixFrom(addr, addr.BitLen()).String()}, nil
}
