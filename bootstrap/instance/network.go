// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ErrNoNetwork means that the bound of WaitNetwork passed.
var ErrNoNetwork = errors.New("no usable network address")

// WaitNetwork waits until a network interface other than loopback is up with an
// address, at most for bound; then ErrNoNetwork. An interface that is up only
// with an IPv6 link-local address is not ready: every one gets that by itself.
func WaitNetwork(ctx context.Context, bound time.Duration) error {
	return wait(ctx, bound, 250*time.Millisecond, hostReady)
}

func wait(ctx context.Context, bound, pause time.Duration, ready func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for {
		ok, err := ready()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			if err != nil {
				return fmt.Errorf("%w within %s: %w", ErrNoNetwork, bound, err)
			}
			return fmt.Errorf("%w within %s", ErrNoNetwork, bound)
		case <-time.After(pause):
		}
	}
}

func hostReady() (bool, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false, err
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err == nil && usable(i.Flags, addrs) {
			return true, nil
		}
	}
	return false, nil
}

// usable judges one interface. IPv4 link-local counts: small clouds put guests
// into the metadata network.
func usable(flags net.Flags, addrs []net.Addr) bool {
	if flags&net.FlagUp == 0 || flags&net.FlagLoopback != 0 {
		return false
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && (n.IP.To4() != nil && !n.IP.IsUnspecified() || n.IP.To4() == nil && n.IP.IsGlobalUnicast()) {
			return true
		}
	}
	return false
}
