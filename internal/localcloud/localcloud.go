// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package localcloud knows how a client tells a cloud on its own machine
// ("rightimage local") from AWS, and how it reaches machines there.
package localcloud

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TagSSH is the tag with which the local cloud says where the SSH port of a
// machine is.
const TagSSH = "rightimage:local-ssh"

// LoopbackBlock is where clients of a cloud on this machine come from.
const LoopbackBlock = "127.0.0.0/8"

// OnThisMachine reports whether an endpoint is on the loopback interface.
func OnThisMachine(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// SSH reads where the SSH port of a machine is. Only loopback is believed.
func SSH(i types.Instance) (host string, port int, ok bool) {
	for _, t := range i.Tags {
		if aws.ToString(t.Key) != TagSSH {
			continue
		}
		host, text, err := net.SplitHostPort(aws.ToString(t.Value))
		if err != nil {
			return "", 0, false
		}
		ip, ipErr := netip.ParseAddr(host)
		n, portErr := strconv.ParseUint(text, 10, 16)
		return host, int(n), ipErr == nil && portErr == nil && ip.IsLoopback()
	}
	return "", 0, false
}
