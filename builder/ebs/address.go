// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

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
	if host, port, ok := localcloud.SSH(i); ok && s.local {
		return address{host, port}, nil
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
