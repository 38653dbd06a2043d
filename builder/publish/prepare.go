// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// Defaults of the options.
const (
	defaultRootDevice     = "/dev/xvda"
	defaultVolumeType     = "gp3"
	defaultConcurrency    = 64
	maxConcurrency        = 64
	defaultAttemptTimeout = 30 * time.Second
	defaultUploadTimeout  = 5 * time.Minute
	defaultUndoTimeout    = 5 * time.Minute
	defaultPollDelay      = 2 // seconds
	defaultPollTime       = 30 * time.Minute
	defaultMaxRetries     = 10
	defaultCopies         = 8
	maxCopies             = 100
)

// Values of region_strategy.
const (
	strategyCopy   = "copy"
	strategyUpload = "upload"
)

// Values of imds_support and tpm_support.
const (
	imdsV2       = "v2.0"
	imdsOptional = "optional"
	tpmV2        = "v2.0"
)

// problems collects what is wrong with a template.
type problems []error

// add records a problem: the option, the rule with the value, the remedy.
func (p *problems) add(option, rule, remedy string) {
	*p = append(*p, fmt.Errorf("%s: %s: %s", option, rule, remedy))
}

func (p *problems) addAll(option string, rules []string, remedy string) {
	for _, rule := range rules {
		p.add(option, rule, remedy)
	}
}

func (p *problems) oneOf(option, value string, allowed []string) {
	if value != "" && !slices.Contains(allowed, value) {
		p.add(option, fmt.Sprintf("is %q", value), "use "+strings.Join(allowed, " or "))
	}
}

// join makes one error of all problems; nil when there are none.
func (p problems) join() error { return errors.Join(p...) }

// Prepare sets defaults and returns all problems at once. When publication is
// not wanted it checks nothing, so that a template serves both ways.
func (c *Config) Prepare() []error {
	if !c.Wanted() {
		return nil
	}
	var p problems
	if err := c.prepareVerify(); err != nil {
		p = append(p, err)
	}
	p = append(p, c.PrepareProof()...)
	c.setDefaults()
	c.preparePolling(&p)
	c.checkAccess(&p)
	c.checkImage(&p)
	c.checkVolumes(&p)
	c.checkTags(&p)
	c.checkEncryption(&p)
	c.checkSharing(&p)
	c.checkLife(&p)
	c.checkTimes(&p)
	return p
}

// PrepareDisk is Prepare for an image that is made of a disk.
func (c *Config) PrepareDisk() []error {
	if !c.Wanted() {
		return nil
	}
	p := problems(c.Prepare())
	c.checkResume(&p)
	for _, region := range c.uploadTargets() {
		if key := c.keyOf(region); strings.Contains(key, "alias/") {
			p.add(c.keyOption(region), fmt.Sprintf("is the alias %q, which an upload cannot use", key), "give the key's ARN or id")
		}
	}
	if c.RegionStrategy == strategyUpload && len(c.Targets()) > 1 {
		for i, d := range c.AMIMappings {
			if d.SnapshotID != "" {
				p.add(fmt.Sprintf("ami_block_device_mappings[%d].snapshot_id", i), "is "+strconv.Quote(d.SnapshotID)+`, which no other region has`, `use region_strategy = "copy"`)
			}
		}
	}
	return p
}

// PrepareImage is Prepare for an image that is made of a machine: what can only
// be decided by registering a disk is refused.
func (c *Config) PrepareImage() []error {
	var p problems
	for option, set := range map[string]bool{
		"ami_architecture": c.AMIArchitecture != "", "boot_mode": c.BootMode != "", "uefi_data": c.UefiData != "", "tpm_support": c.TpmSupport != "",
		"root_device_name": c.RootDeviceName != "", "incremental": !c.Incremental.False() && c.Incremental.ToBoolPointer() != nil,
		"block_manifest": c.BlockManifest != "", "journal_directory": c.JournalDirectory != "",
		"region_strategy": c.RegionStrategy == strategyUpload,
	} {
		if set {
			p.add(option, "is for images made of a disk only", "leave it out: the image is as the source is")
		}
	}
	slices.SortFunc(p, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if c.Wanted() {
		c.checkImageProof(&p)
	}
	return append(p, c.Prepare()...)
}

func (c *Config) setDefaults() {
	c.IMDSSupport = cmp.Or(c.IMDSSupport, imdsV2)
	c.RootDeviceName = cmp.Or(c.RootDeviceName, defaultRootDevice)
	c.VolumeType = cmp.Or(c.VolumeType, defaultVolumeType)
	c.UploadConcurrency = cmp.Or(c.UploadConcurrency, defaultConcurrency)
	c.UploadAttemptTimeout = cmp.Or(c.UploadAttemptTimeout, defaultAttemptTimeout)
	c.UploadTimeout = cmp.Or(c.UploadTimeout, defaultUploadTimeout)
	c.UndoTimeout = cmp.Or(c.UndoTimeout, defaultUndoTimeout)
	c.MaxRetries = cmp.Or(c.MaxRetries, defaultMaxRetries)
	c.RegionStrategy = cmp.Or(c.RegionStrategy, strategyCopy)
	c.CopyConcurrency = cmp.Or(c.CopyConcurrency, defaultCopies)
}

func (c *Config) checkAccess(p *problems) {
	for _, region := range c.Targets() {
		if !looksLikeRegion(region) {
			option := "regions"
			if region == c.Region {
				option = "region"
			}
			p.add(option, fmt.Sprintf("%q is no region", region), "use a name such as us-east-1")
		}
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		p.add("access_key, secret_key", "only one of them is set", "set both, or neither to use the environment")
	}
	if c.Token != "" && c.AccessKey == "" {
		p.add("token", "is set without access_key", "set access_key and secret_key as well, or leave token out")
	}
	if c.AccessKey != "" && c.Profile != "" {
		p.add("profile", fmt.Sprintf("is %q although access_key is set", c.Profile), "leave one of them out")
	}
	if c.EndpointURL != "" {
		if err := awsx.CheckEndpoint(c.EndpointURL); err != nil {
			*p = append(*p, err)
		}
	}
	role := c.AssumeRole
	switch {
	case role.RoleARN == "" && role != (AssumeRoleConfig{}):
		p.add("assume_role.role_arn", "is missing", "name the role, or leave the assume_role block out")
	case role.RoleARN != "" && !strings.HasPrefix(role.RoleARN, "arn:"):
		p.add("assume_role.role_arn", fmt.Sprintf("is %q", role.RoleARN), "use an ARN such as arn:aws:iam::123456789012:role/builder")
	}
	if c.MaxRetries < 1 || c.MaxRetries > 100 {
		p.add("max_retries", fmt.Sprintf("must be 1 to 100, is %d", c.MaxRetries), "the default is "+strconv.Itoa(defaultMaxRetries))
	}
}

func (c *Config) checkImage(p *problems) {
	if c.AMIName == "" {
		p.add("ami_name", "is missing, and regions are given", `set it, for instance to "rightimage-{{ timestamp }}"`)
	} else {
		p.addAll("ami_name", checkName(c.AMIName), "change the name")
	}
	if c.late(p, "ami_description", c.AMIDescription) {
		p.addAll("ami_description", checkDescription(c.AMIDescription), "change the text")
	}
	p.oneOf("ami_architecture", c.AMIArchitecture, architectures())
	p.oneOf("boot_mode", c.BootMode, bootModes())
	p.oneOf("imds_support", c.IMDSSupport, []string{imdsV2, imdsOptional})
	if c.AMIArchitecture == "arm64" && c.BootMode != "" && c.BootMode != "uefi" {
		p.add("boot_mode", fmt.Sprintf("is %q, but arm64 has uefi only", c.BootMode), "use uefi or leave it out")
	}
	if !looksLikeDevice(c.RootDeviceName) {
		p.add("root_device_name", fmt.Sprintf("is %q", c.RootDeviceName), "use /dev/xvda or /dev/sda1")
	}
	c.checkFirmware(p)
}

// checkFirmware holds the rules of uefi_data and tpm_support.
func (c *Config) checkFirmware(p *problems) {
	p.oneOf("tpm_support", c.TpmSupport, []string{tpmV2})
	uefi := strings.HasPrefix(c.BootMode, "uefi") || c.AMIArchitecture == "arm64"
	if c.UefiData != "" {
		if _, err := base64.StdEncoding.DecodeString(c.UefiData); err != nil || len(c.UefiData) > maxUefiData {
			p.add("uefi_data", fmt.Sprintf("must be base64 and have at most %d characters, has %d", maxUefiData, len(c.UefiData)), "write it with python-uefivars")
		}
		if !uefi {
			p.add("uefi_data", fmt.Sprintf("has no use with boot_mode %q", c.BootMode), `set boot_mode = "uefi"`)
		}
	}
	if c.TpmSupport == tpmV2 && c.BootMode != "uefi" {
		p.add("tpm_support", fmt.Sprintf("needs boot_mode uefi, which is %q", c.BootMode), `set boot_mode = "uefi"`)
	}
}

func (c *Config) checkTimes(p *problems) {
	p.oneOf("region_strategy", c.RegionStrategy, []string{strategyCopy, strategyUpload})
	if c.CopyConcurrency < 1 || c.CopyConcurrency > maxCopies {
		p.add("copy_concurrency", fmt.Sprintf("must be 1 to %d, is %d", maxCopies, c.CopyConcurrency), "leave it out for "+strconv.Itoa(defaultCopies))
	}
	if c.UploadConcurrency < 1 || c.UploadConcurrency > maxConcurrency {
		p.add("upload_concurrency", fmt.Sprintf("must be 1 to %d, is %d", maxConcurrency, c.UploadConcurrency), "leave it out: the number in use adapts by itself")
	}
	for _, t := range []struct {
		option string
		value  time.Duration
	}{
		{"upload_attempt_timeout", c.UploadAttemptTimeout},
		{"upload_timeout", c.UploadTimeout},
		{"undo_timeout", c.UndoTimeout},
	} {
		if t.value < time.Second || t.value > 24*time.Hour {
			p.add(t.option, fmt.Sprintf("must be 1s to 24h, is %s", t.value), `write it with a unit, such as "90s" or "5m"`)
		}
	}
}
