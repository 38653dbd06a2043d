// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package kms knows the names of encryption keys in the local cloud. There are
// no keys behind them: every well-formed name of the right region is a key.
package kms

import (
	"regexp"
	"strings"

	"github.com/google/uuid"
)

// managedAlias names the key that AWS manages for EBS in each account. What it
// encrypts cannot be shared.
const managedAlias = "alias/aws/ebs"

// Managed is the ARN of the key that AWS manages for EBS in a region.
func Managed(region, account string) string { return aliased(region, account, managedAlias) }

// Resolve makes an ARN of a key id, an alias, or the ARN of either; false when
// there is no such key in the region.
func Resolve(region, account, name string) (arn string, ok bool) {
	if rest, isARN := strings.CutPrefix(name, "arn:"); isARN {
		part := strings.SplitN(rest, ":", 5) // partition, service, region, account, resource
		if len(part) != 5 || part[1] != "kms" || part[2] != region {
			return "", false
		}
		account, name = part[3], part[4]
		id, isKey := strings.CutPrefix(name, "key/")
		if isKey {
			name = id
		} else if !strings.HasPrefix(name, "alias/") {
			return "", false
		}
	}
	if regexp.MustCompile(`\Aalias/[a-zA-Z0-9/_-]+\z`).MatchString(name) {
		return aliased(region, account, name), true
	}
	if regexp.MustCompile(`\A(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\z`).MatchString(name) {
		return key(region, account, name), true
	}
	return "", false
}

func key(region, account, id string) string {
	return "arn:aws:kms:" + region + ":" + account + ":key/" + id
}

// aliased is the key that an alias leads to: always the same one.
func aliased(region, account, alias string) string {
	return key(region, account, uuid.NewSHA1(uuid.NameSpaceURL, []byte("arn:aws:kms:"+region+":"+account+":"+alias)).String())
}
