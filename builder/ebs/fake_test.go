// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

func apiError(code string) error {
	return &smithy.GenericAPIError{Code: code, Message: "the message of " + code}
}

// errLost is a reply that never came.
var errLost = apiError("InternalError")

// cloud is an account of which one knows exactly what is in it. It records the
// calls and fails those that a test names.
type cloud struct {
	mu    sync.Mutex
	calls []string
	in    map[string]any // last input by call
	// hook is asked before each call; with an error and carry the call is carried
	// out all the same.
	hook func(name string, nth int) (err error, carry bool)

	images     []types.Image
	vpcs       []types.Vpc
	subnets    []types.Subnet
	groups     map[string]types.SecurityGroup
	kinds      []types.InstanceTypeInfo
	offered    []string // zones
	keys       map[string][]types.Tag
	machines   map[string]*types.Instance
	shutting   int // how often a terminated machine shows itself shutting down
	volumes    map[string]types.Volume
	templates  map[string]types.LaunchTemplate
	fleets     map[string]bool
	roles      map[string][]string // policies
	profiles   map[string][]string // roles
	parameters map[string]string
	noSpot     []types.CreateFleetError
}

var (
	_ control = (*cloud)(nil)
	_ access  = (*cloud)(nil)
)

func newCloud() *cloud {
	return &cloud{
		in:       map[string]any{},
		vpcs:     []types.Vpc{{VpcId: aws.String("vpc-1"), IsDefault: aws.Bool(true), CidrBlock: aws.String("10.0.0.0/16")}},
		subnets:  []types.Subnet{subnet("subnet-a", "vpc-1", "us-east-1a", 10), subnet("subnet-b", "vpc-1", "us-east-1b", 200)},
		groups:   map[string]types.SecurityGroup{"sg-old": {GroupId: aws.String("sg-old"), GroupName: aws.String("old"), VpcId: aws.String("vpc-1")}},
		offered:  []string{"us-east-1a", "us-east-1b"},
		keys:     map[string][]types.Tag{},
		machines: map[string]*types.Instance{}, volumes: map[string]types.Volume{}, templates: map[string]types.LaunchTemplate{},
		fleets: map[string]bool{}, roles: map[string][]string{}, profiles: map[string][]string{}, parameters: map[string]string{},
	}
}

func subnet(id, vpc, zone string, free int32) types.Subnet {
	return types.Subnet{SubnetId: aws.String(id), VpcId: aws.String(vpc), AvailabilityZone: aws.String(zone), AvailableIpAddressCount: aws.Int32(free), MapPublicIpOnLaunch: aws.Bool(true)}
}

// left lists what is in the account and was not there before.
func (c *cloud) left() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	add := func(kind, id string) { out = append(out, kind+" "+id) }
	for id := range c.keys {
		add("key", id)
	}
	for id := range c.groups {
		if id != "sg-old" {
			add("group", id)
		}
	}
	for id, m := range c.machines {
		if m.State.Name != types.InstanceStateNameTerminated {
			add("machine", id)
		}
	}
	for id := range c.volumes {
		add("volume", id)
	}
	for id := range c.templates {
		add("template", id)
	}
	for id := range c.fleets {
		add("fleet", id)
	}
	for id := range c.roles {
		add("role", id)
	}
	for id := range c.profiles {
		add("profile", id)
	}
	slices.Sort(out)
	return out
}

// serve records a call and carries it out, or not.
func serve[O any](ctx context.Context, c *cloud, name string, in any, do func() (*O, error)) (*O, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, name)
	c.in[name] = in
	if c.hook != nil {
		if err, carry := c.hook(name, len(c.calls)); err != nil {
			if carry {
				_, _ = do()
			}
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return do()
}

func matches(tags []types.Tag, by []types.Filter) bool {
	for _, f := range by {
		if key, ok := strings.CutPrefix(aws.ToString(f.Name), "tag:"); ok && !slices.Contains(f.Values, tagOf(tags, key)) {
			return false
		}
	}
	return true
}

func specs(list []types.TagSpecification, kind types.ResourceType) []types.Tag {
	for _, s := range list {
		if s.ResourceType == kind {
			return s.Tags
		}
	}
	return nil
}

// newSite is a site with a clock that takes no time.
func newSite(t *testing.T) *site {
	t.Helper()
	clock := &wait.Fake{}
	return &site{
		region: "us-east-1", build: "b1", created: time.Unix(1700000000, 0), owed: &ledger.Ledger{Clock: clock}, fresh: freshTime,
		waiter:  wait.Waiter{Delay: time.Second, Attempts: 60, Clock: clock},
		explain: explained,
		command: func(service, verb string, args ...string) string {
			return strings.Join(append([]string{"aws", service, verb}, args...), " ")
		},
		say: func(format string, args ...any) { t.Logf(format, args...) },
	}
}

func explained(op, region string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s in %s: %w", op, region, err)
}
