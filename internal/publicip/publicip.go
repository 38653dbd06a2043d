// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package publicip asks a service under which address it sees this machine, so
// that a security group can open to it and to nobody else.
package publicip

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// DefaultURL is AWS's own service.
const DefaultURL = "https://checkip.amazonaws.com"

// limit is how long one question may take, most what is read of an answer, and
// shown what an error repeats of it.
const (
	limit = 10 * time.Second
	most  = 1 << 10
	shown = 40
)

// Lookup asks once.
func Lookup(ctx context.Context, client *http.Client, url string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
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
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return netip.Addr{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	text := strings.TrimSpace(string(body))
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s answers %q, which is no address", url, text[:min(len(text), shown)])
	}
	return addr.Unmap(), nil
}
