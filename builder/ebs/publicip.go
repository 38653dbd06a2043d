// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

const (
	defaultPublicIPURL = "https://checkip.amazonaws.com"
	loopbackBlock      = "127.0.0.0/8"
	echoTimeout        = 10 * time.Second
	echoTries          = 3
)

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
		return []string{loopbackBlock}, nil
	case p.iface == privateIP || p.iface == privateDNS:
		return p.vpcCIDRs, nil
	}
	var addr netip.Addr
	w := s.waiter
	w.Attempts, w.Delay, w.Deadline = echoTries, time.Second, 0
	var last error
	err := w.Until(ctx, "the public address of this machine", func(ctx context.Context) (bool, error) {
		addr, last = publicAddress(ctx, client, c.PublicIPURL)
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

// publicAddress asks a service which address it sees.
func publicAddress(ctx context.Context, client *http.Client, url string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, echoTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return netip.Addr{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(body)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s answers %q, which is no address", url, clip(string(body), 40))
	}
	return addr.Unmap(), nil
}
