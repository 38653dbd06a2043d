// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// tagLocalSSH is the tag with which the local cloud says where the SSH port of a
// machine is.
const tagLocalSSH = "rightimage:local-ssh"

// address is where the SSH server of a machine is reached.
type address struct {
	host string
	port int
}

// address finds it: the local cloud's own word first, then what iface names.
func (s *site) address(ctx context.Context, api instances, id, iface string, port int) (address, error) {
	i, err := instance(ctx, api, id)
	if err != nil {
		return address{}, err
	}
	if err := ended(i, types.InstanceStateNameRunning); err != nil {
		return address{}, &goneError{err}
	}
	if a, ok := localAddress(i); ok && s.local {
		return a, nil
	}
	host := map[string]*string{
		publicIP: i.PublicIpAddress, privateIP: i.PrivateIpAddress, publicDNS: i.PublicDnsName, privateDNS: i.PrivateDnsName,
	}[iface]
	if aws.ToString(host) == "" {
		return address{}, fmt.Errorf("instance %s has no %s yet", id, iface)
	}
	return address{aws.ToString(host), port}, nil
}

// goneError says that a machine will never answer.
type goneError struct{ error }

// localAddress reads the local cloud's tag. Only loopback is believed.
func localAddress(i types.Instance) (address, bool) {
	host, port, err := net.SplitHostPort(tagOf(i.Tags, tagLocalSSH))
	if err != nil {
		return address{}, false
	}
	ip, ipErr := netip.ParseAddr(host)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return address{host, int(n)}, ipErr == nil && portErr == nil && ip.IsLoopback()
}
