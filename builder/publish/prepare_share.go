// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"regexp"
	"slices"
)

// everybody is the one group that EC2 knows.
const everybody = "all"

// public and publicSnapshots report whether the template shares with everybody.
func (c Config) public() bool          { return slices.Contains(c.AMIGroups, everybody) }
func (c Config) publicSnapshots() bool { return slices.Contains(c.SnapshotGroups, everybody) }

// sharesImage and sharesSnapshots report whether anybody else may use them.
func (c Config) sharesImage() bool {
	return len(c.AMIUsers)+len(c.AMIGroups)+len(c.AMIOrgARNs)+len(c.AMIOUARNs) > 0
}
func (c Config) sharesSnapshots() bool { return len(c.SnapshotUsers)+len(c.SnapshotGroups) > 0 }

func (c *Config) checkSharing(p *problems) {
	for option, list := range map[string][]string{"ami_users": c.AMIUsers, "snapshot_users": c.SnapshotUsers} {
		p.each(option, list, `\A[0-9]{12}\z`, "use the 12 digits of an account id")
	}
	for option, list := range map[string][]string{"ami_groups": c.AMIGroups, "snapshot_groups": c.SnapshotGroups} {
		p.each(option, list, `\Aall\z`, `"all" is the only group there is`)
	}
	p.each("ami_org_arns", c.AMIOrgARNs, `\Aarn:aws[a-z-]*:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}\z`,
		"use an ARN such as arn:aws:organizations::123456789012:organization/o-123example")
	p.each("ami_ou_arns", c.AMIOUARNs, `\Aarn:aws[a-z-]*:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}\z`,
		"use an ARN such as arn:aws:organizations::123456789012:ou/o-123example/ou-1234-5example")
	if c.encryption() == encrypted {
		c.checkEncryptedSharing(p)
	}
}

// checkEncryptedSharing refuses what EC2 would refuse at the very end.
func (c *Config) checkEncryptedSharing(p *problems) {
	if c.public() {
		p.add("ami_groups", "makes the image public, but encrypt_boot or a KMS key encrypts it", "a public image cannot be encrypted: leave one of them out")
	}
	if c.publicSnapshots() {
		p.add("snapshot_groups", "makes the snapshots public, but encrypt_boot or a KMS key encrypts them", "public snapshots cannot be encrypted: leave one of them out")
	}
	if !c.sharesImage() && !c.sharesSnapshots() {
		return
	}
	for _, region := range c.Targets() {
		if c.keyOf(region) == "" {
			p.add("encrypt_boot", "the image is shared, but encrypted with the default key in "+region+", which others cannot use",
				"give a key of your own in kms_key_id or region_kms_key_ids")
		}
	}
}

// each checks the form of every value of a list.
func (p *problems) each(option string, list []string, form, remedy string) {
	re := regexp.MustCompile(form)
	seen := map[string]bool{}
	for _, v := range list {
		if !re.MatchString(v) {
			p.add(option, fmt.Sprintf("has %q", v), remedy)
		} else if seen[v] {
			p.add(option, fmt.Sprintf("has %q twice", v), "leave one out")
		}
		seen[v] = true
	}
}
