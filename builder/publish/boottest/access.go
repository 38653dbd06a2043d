// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
	"github.com/rightimage/packer-plugin-rightimage/internal/publicip"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// key is the key that the machine is launched with. Its private half stays in
// this process.
type key struct {
	name   string
	signer ssh.Signer
}

// makeKey makes the login key of the machine.
func (t *Test) makeKey(ctx context.Context) error {
	if t.Connect == connectConsole {
		return nil
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	what := thing{
		kind: "key pair",
		find: t.Command("describe-key-pairs", "--filters", t.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			out, err := t.EC2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: t.mine()}, awsx.Once)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, k := range out.KeyPairs {
				names = append(names, aws.ToString(k.KeyName))
			}
			return names, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := t.EC2.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)}, awsx.Once)
			return err
		},
		remedy: func(name string) string { return t.Command("delete-key-pair", "--key-name", name) },
	}
	name, err := t.make(ctx, what, func(ctx context.Context) (string, error) {
		_, err := t.EC2.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: aws.String(t.name()), PublicKeyMaterial: ssh.MarshalAuthorizedKey(signer.PublicKey()),
			TagSpecifications: []types.TagSpecification{t.tagged(types.ResourceTypeKeyPair)},
		})
		if awsx.Class(err) == awsx.Conflict { // the name is ours alone: an earlier try of this call
			err = nil
		}
		return t.name(), err
	})
	t.key = &key{name, signer}
	return err
}

// openGroup makes the security group that lets this machine, and nobody else,
// reach the SSH server.
func (t *Test) openGroup(ctx context.Context) error {
	t.groups = t.SecurityGroupIDs
	if t.Connect == connectConsole || len(t.groups) > 0 {
		return nil
	}
	vpc, blocks, err := t.place(ctx)
	if err != nil {
		return err
	}
	what := thing{
		kind:   "security group",
		find:   t.Command("describe-security-groups", "--filters", t.mineText()),
		lookup: t.myGroups,
		remove: func(ctx context.Context, id string) error {
			// While the machine is shutting down this is a DependencyViolation: the
			// ledger comes back to it.
			_, err := t.EC2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)}, awsx.Once)
			return err
		},
		remedy: func(id string) string { return t.Command("delete-security-group", "--group-id", id) },
	}
	id, err := t.make(ctx, what, func(ctx context.Context) (string, error) {
		out, err := t.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: aws.String(t.name()), Description: aws.String("Temporary group of the boot test of an image"), VpcId: vpc,
			TagSpecifications: []types.TagSpecification{t.tagged(types.ResourceTypeSecurityGroup)},
		})
		if err == nil {
			return aws.ToString(out.GroupId), nil
		}
		if awsx.Class(err) == awsx.Conflict { // the name is ours alone: an earlier try of this call
			if ids, lookErr := t.myGroups(ctx); lookErr == nil && len(ids) == 1 {
				return ids[0], nil
			}
		}
		return "", err
	})
	if err != nil {
		return err
	}
	t.groups = []string{id}
	err = t.patiently(ctx, func(ctx context.Context) error {
		_, err := t.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: aws.String(id), IpPermissions: []types.IpPermission{ingress(t.SSHPort, blocks)},
		})
		if awsx.Class(err) == awsx.Conflict {
			return nil // an earlier try of this call
		}
		return err
	})
	return t.fail("open security group "+id+" to "+strings.Join(blocks, ", "), err)
}

func (t *Test) myGroups(ctx context.Context) ([]string, error) {
	out, err := t.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: t.mine()}, awsx.Once)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, g := range out.SecurityGroups {
		ids = append(ids, aws.ToString(g.GroupId))
	}
	return ids, nil
}

// ingress lets blocks of either kind of address in.
func ingress(port int, blocks []string) types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(port)), ToPort: aws.Int32(int32(port))}
	for _, b := range blocks {
		if strings.Contains(b, ":") {
			p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: aws.String(b)})
		} else {
			p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(b)})
		}
	}
	return p
}

// place finds the VPC of the machine (nil: the default one) and where its SSH
// server is reached from.
func (t *Test) place(ctx context.Context) (vpc *string, blocks []string, err error) {
	public := t.SSHInterface != privateIP
	if t.SubnetID != "" {
		out, err := t.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{t.SubnetID}})
		if err == nil && len(out.Subnets) == 0 {
			err = errors.New("there is no such subnet")
		}
		if err != nil {
			return nil, nil, t.fail("describe boot_test.subnet_id "+t.SubnetID, err)
		}
		vpc = out.Subnets[0].VpcId
		public = public && aws.ToBool(out.Subnets[0].MapPublicIpOnLaunch)
	}
	if asked := t.AssociatePublicIP.ToBoolPointer(); asked != nil && t.SSHInterface != privateIP {
		public = *asked
	}
	switch {
	case len(t.SourceCIDRs) > 0:
		return vpc, t.SourceCIDRs, nil
	case t.Local:
		return vpc, []string{localcloud.LoopbackBlock}, nil
	case public:
		blocks, err = t.myAddress(ctx)
	default:
		blocks, err = t.blocksOf(ctx, aws.ToString(vpc))
	}
	return vpc, blocks, err
}

// addressTries is how often this machine's public address is asked for.
const addressTries = 3

func (t *Test) myAddress(ctx context.Context) ([]string, error) {
	var addr netip.Addr
	var last error
	url := publicip.DefaultURL
	if t.echo != "" {
		url = t.echo
	}
	w := wait.Waiter{Delay: time.Second, Attempts: addressTries, Clock: t.Waiter.Clock}
	err := w.Until(ctx, "the public address of this machine", func(ctx context.Context) (bool, error) {
		addr, last = publicip.Lookup(ctx, http.DefaultClient, url)
		return last == nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("find this machine's public address: %w: set boot_test.temporary_security_group_source_cidrs", errors.Join(err, last))
	}
	return []string{netip.PrefixFrom(addr, addr.BitLen()).String()}, nil
}

// blocksOf are the addresses of a VPC; "" is the default one.
func (t *Test) blocksOf(ctx context.Context, vpc string) ([]string, error) {
	in := &ec2.DescribeVpcsInput{VpcIds: []string{vpc}}
	if vpc == "" {
		in = &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}}
	}
	out, err := t.EC2.DescribeVpcs(ctx, in)
	if err != nil {
		return nil, t.fail("describe the VPC of the boot test", err)
	}
	var blocks []string
	for _, v := range out.Vpcs {
		for _, a := range v.CidrBlockAssociationSet {
			blocks = append(blocks, aws.ToString(a.CidrBlock))
		}
		if len(blocks) == 0 {
			blocks = append(blocks, aws.ToString(v.CidrBlock))
		}
	}
	return blocks, nil
}
