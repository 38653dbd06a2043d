// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

// Limits of the service, with their sources.
const (
	// Before base64: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
	maxUserData = 16 << 10
	// Inline policies of a role: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
	maxPolicy = 10240
	// Tags, two or three of which are ours: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
	maxTags     = 50
	ourTags     = 3
	maxTagKey   = 128
	maxTagValue = 256
)

// Values of the spot options.
const (
	autoPrice       = "auto"
	defaultStrategy = string(types.SpotAllocationStrategyPriceCapacityOptimized)
)

func strategies() []string {
	var out []string
	for _, s := range types.SpotAllocationStrategy("").Values() {
		out = append(out, string(s))
	}
	return out
}

func isPrice(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && f > 0 && f < 1000
}

// checkCIDR says what is wrong with an address block.
func checkCIDR(s string) string {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Sprintf("%q is no address block", s)
	}
	if p.Masked() != p {
		return fmt.Sprintf("%q has bits behind its mask: %s is the block", s, p.Masked())
	}
	return ""
}

// checkEchoURL holds the rule that nobody on the way may choose for whom the
// security group opens.
func checkEchoURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return fmt.Sprintf("%q is no URL", s)
	}
	if u.Scheme == "https" || u.Scheme == "http" && localcloud.OnThisMachine(s) {
		return ""
	}
	return fmt.Sprintf("%q is not https", s)
}

// checkPolicy finds what IAM would refuse after the build has begun.
func checkPolicy(p *problems, text string) {
	const option = "temporary_iam_instance_profile_policy"
	var doc struct {
		Version   string
		Statement any
	}
	switch err := json.Unmarshal([]byte(text), &doc); {
	case err != nil:
		p.add(option, "is no JSON ("+err.Error()+")", "write it with jsonencode({ Version = \"2012-10-17\", Statement = [ … ] })")
	case doc.Statement == nil || reflect.DeepEqual(doc.Statement, []any{}):
		p.add(option, "has no Statement", "see the IAM policy reference")
	}
	if n := len(text); n > maxPolicy {
		p.add(option, fmt.Sprintf("can have at most %d characters, has %d", maxPolicy, n), "use iam_instance_profile")
	}
}

// checkTags holds the rules of tags whose templates are filled in later.
func checkTags(p *problems, option string, tags map[string]string, more func(*map[string]string) []error) {
	all := maps.Clone(tags)
	for _, err := range more(&all) {
		p.add(option, err.Error(), "change it")
	}
	if n := len(all) + ourTags; n > maxTags {
		p.add(option, fmt.Sprintf("there can be at most %d tags, ours included, and there are %d", maxTags, n), "use fewer")
	}
	for _, k := range sortedKeys(all) {
		switch {
		case k == "" || len([]rune(k)) > maxTagKey:
			p.add(option, fmt.Sprintf("the key %q must have 1 to %d characters", clip(k, 20), maxTagKey), "change it")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			p.add(option, fmt.Sprintf("the key %q begins with aws:, which is AWS's own", k), "change it")
		case k == tagTemporary || k == tagCreated:
			p.add(option, fmt.Sprintf("the key %q is ours: it finds what a build has left behind", k), "use another one")
		}
		if len([]rune(all[k])) > maxTagValue && !strings.Contains(all[k], "{{") {
			p.add(option, fmt.Sprintf("the value of %q must have at most %d characters", k, maxTagValue), "shorten it")
		}
	}
}
