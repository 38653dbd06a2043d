// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// encryption is what the template wants of an image's snapshots.
type encryption int

const (
	keep encryption = iota // as EC2 makes them
	encrypted
	unencrypted
)

// encryption reads the tri-state: a key implies yes.
func (c Config) encryption() encryption {
	switch {
	case c.EncryptBoot.True(), c.EncryptBoot.ToBoolPointer() == nil && (c.KmsKeyID != "" || len(c.RegionKmsKeyIDs) > 0):
		return encrypted
	case c.EncryptBoot.False():
		return unencrypted
	default:
		return keep
	}
}

// keyOf returns the KMS key of a region; "" is the default one.
func (c Config) keyOf(region string) string {
	if key, ok := c.RegionKmsKeyIDs[region]; ok {
		return key
	}
	if len(c.RegionKmsKeyIDs) > 0 && region != c.home() {
		return ""
	}
	return c.KmsKeyID
}

// keyOption names the option that keyOf took its value from.
func (c Config) keyOption(region string) string {
	if _, ok := c.RegionKmsKeyIDs[region]; ok {
		return "region_kms_key_ids[" + region + "]"
	}
	return "kms_key_id"
}

// home is the region in which the first image is made.
func (c Config) home() string {
	if t := c.Targets(); len(t) > 0 {
		return t[0]
	}
	return ""
}

// uploadTargets are the regions that a disk is uploaded to.
func (c Config) uploadTargets() []string {
	if c.RegionStrategy == strategyUpload {
		return c.Targets()
	}
	return []string{c.home()}
}

// kmsKey matches the forms of a key: id, multi-Region id, alias, and ARNs of
// these. https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
func kmsKey() *regexp.Regexp {
	return regexp.MustCompile(`\A(?:arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:)?(?:(?:key/)?((?:mrk-[0-9a-f]{32})|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|alias/([A-Za-z0-9/_-]{1,250}))\z`)
}

func (c *Config) checkEncryption(p *problems) {
	if c.EncryptBoot.False() && (c.KmsKeyID != "" || len(c.RegionKmsKeyIDs) > 0) {
		p.add("encrypt_boot", "is false although a KMS key is given", "set it to true, or leave kms_key_id and region_kms_key_ids out")
	}
	targets := c.Targets()
	c.checkKey(p, "kms_key_id", c.KmsKeyID, c.home())
	for _, region := range slices.Sorted(maps.Keys(c.RegionKmsKeyIDs)) {
		option := "region_kms_key_ids[" + region + "]"
		if !slices.Contains(targets, region) {
			p.add(option, region+" is none of the regions of the image ("+strings.Join(targets, ", ")+")", "remove the key, or add the region to regions")
		}
		c.checkKey(p, option, c.RegionKmsKeyIDs[region], region)
	}
	c.checkKeySet(p, targets)
	if key, ok := c.RegionKmsKeyIDs[c.home()]; ok && c.KmsKeyID != "" && key != c.KmsKeyID {
		p.add("kms_key_id", fmt.Sprintf("is %q, but region_kms_key_ids has %q for %s", c.KmsKeyID, key, c.home()), "leave one of them out")
	}
}

// checkKeySet finds the regions that no key is given for.
func (c *Config) checkKeySet(p *problems, targets []string) {
	switch {
	case len(c.RegionKmsKeyIDs) > 0:
		for i, region := range targets {
			if _, ok := c.RegionKmsKeyIDs[region]; !ok && (i > 0 || c.KmsKeyID == "") {
				p.add("region_kms_key_ids", "has no key for "+region, `add one; "" stands for the default key of that region`)
			}
		}
	case c.KmsKeyID != "" && len(targets) > 1 && !everywhere(c.KmsKeyID):
		p.add("kms_key_id", fmt.Sprintf("is %q, a key of %s only, and the image has %d regions", c.KmsKeyID, c.home(), len(targets)),
			"name the keys of all regions in region_kms_key_ids, or use the id of a multi-Region key (mrk-…) or an alias")
	}
}

// everywhere reports whether a key can be meant in several regions.
func everywhere(key string) bool {
	m := kmsKey().FindStringSubmatch(key)
	return m == nil || m[1] == "" && (strings.HasPrefix(m[2], "mrk-") || m[3] != "")
}

func (c *Config) checkKey(p *problems, option, key, region string) {
	if key == "" {
		return
	}
	m := kmsKey().FindStringSubmatch(key)
	switch {
	case m == nil:
		p.add(option, fmt.Sprintf("%q is no KMS key", key), "give a key's id, ARN or alias (alias/…)")
	case m[1] != "" && m[1] != region:
		p.add(option, fmt.Sprintf("%q is a key of %s", key, m[1]), "give a key of "+region)
	}
}
