// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
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
)

// Values of imds_support.
const (
	imdsV2       = "v2.0"
	imdsOptional = "optional"
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

// Prepare sets defaults and returns all problems at once. When publication is
// not wanted it checks nothing, so that a template serves both ways.
func (c *Config) Prepare() []error {
	if !c.Wanted() {
		return nil
	}
	var p problems
	c.setDefaults()
	c.preparePolling(&p)
	c.checkAccess(&p)
	c.checkImage(&p)
	c.checkTags(&p)
	c.checkTimes(&p)
	return p
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
	p.addAll("ami_description", checkDescription(c.AMIDescription), "change the text")
	p.oneOf("ami_architecture", c.AMIArchitecture, architectures())
	p.oneOf("boot_mode", c.BootMode, bootModes())
	p.oneOf("imds_support", c.IMDSSupport, []string{imdsV2, imdsOptional})
	p.oneOf("volume_type", c.VolumeType, volumeTypes())
	if c.AMIArchitecture == "arm64" && c.BootMode != "" && c.BootMode != "uefi" {
		p.add("boot_mode", fmt.Sprintf("is %q, but arm64 has uefi only", c.BootMode), "use uefi or leave it out")
	}
	if !looksLikeDevice(c.RootDeviceName) {
		p.add("root_device_name", fmt.Sprintf("is %q", c.RootDeviceName), "use /dev/xvda or /dev/sda1")
	}
	if c.VolumeSize < 0 || c.VolumeSize > maxVolumeGiB {
		p.add("volume_size", fmt.Sprintf("must be 1 to %d GiB, is %d", maxVolumeGiB, c.VolumeSize), "leave it out to take the disk's size")
	}
}

func (c *Config) checkTags(p *problems) {
	ours := len(c.provenance())
	image := c.userTags()
	p.addAll("tags", checkTags(image, ours), "change the tags")
	snap := maps.Clone(c.SnapshotTags)
	c.SnapshotTag.CopyOn(&snap)
	p.addAll("snapshot_tags", checkTags(snap, 0), "change the tags")
	all := maps.Clone(image)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, snap)
	if n := len(all) + ours + 1; n > maxTags && len(image)+ours <= maxTags {
		p.add("snapshot_tags", fmt.Sprintf("a snapshot can have at most %d tags and would have %d, those of tags and ours included", maxTags, n), "use fewer")
	}
}

func (c *Config) checkTimes(p *problems) {
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

// preparePolling fills in what the template leaves open from the variables
// that users of Packer's own Amazon plugin know.
func (c *Config) preparePolling(p *problems) {
	if c.Polling.DelaySeconds < 0 || c.Polling.MaxAttempts < 0 {
		p.add("aws_polling", "delay_seconds and max_attempts must not be negative", "leave them out for the defaults")
	}
	c.Polling.DelaySeconds = cmp.Or(c.Polling.DelaySeconds, envNumber(p, "AWS_POLL_DELAY_SECONDS"), defaultPollDelay)
	seconds := cmp.Or(envNumber(p, "AWS_TIMEOUT_SECONDS"), int(defaultPollTime/time.Second))
	fitting := max(seconds/max(c.Polling.DelaySeconds, 1), 1)
	c.Polling.MaxAttempts = cmp.Or(c.Polling.MaxAttempts, envNumber(p, "AWS_MAX_ATTEMPTS"), fitting)
}

func envNumber(p *problems, name string) int {
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		p.add(name, fmt.Sprintf("must be a positive number, is %q", text), "correct or unset the variable")
		return 0
	}
	return n
}

// waiter polls as the template says.
func (c Config) waiter() wait.Waiter {
	return wait.Waiter{Delay: time.Duration(c.Polling.DelaySeconds) * time.Second, Attempts: c.Polling.MaxAttempts}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
