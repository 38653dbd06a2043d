// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of EnableImageDeprecation:
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EnableImageDeprecation.html
const (
	day               = 24 * time.Hour
	maxDeprecation    = 10 * 365 * day
	maxPublicLifetime = 2 * 365 * day
)

// Limits of parameters:
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
const maxParameterName = 1011

func (c *Config) checkLife(p *problems) {
	c.checkDeprecation(p, time.Now())
	if c.Protection.WithCooldown && !c.Protection.Enabled {
		p.add("deregistration_protection.with_cooldown", "is set, but enabled is not", "set enabled = true, or leave it out")
	}
	if c.ForceDeleteSnapshot && !c.ForceDeregister {
		p.add("force_delete_snapshot", "is set without force_deregister", "set both, or leave it out")
	}
	if c.KeepNewest < 0 || c.KeepNewest > 1000 {
		p.add("keep_newest", fmt.Sprintf("must be 1 to 1000, is %d", c.KeepNewest), "leave it out to keep all")
	}
	if c.KeepNewest > 0 && c.Family == "" {
		p.add("keep_newest", "is set without family", "name the family of the image in family")
	}
	if n := len([]rune(c.Family)); n > maxTagValue || strings.TrimSpace(c.Family) != c.Family || strings.ContainsAny(c.Family, "*?\\") {
		p.add("family", fmt.Sprintf("is %q", c.Family), fmt.Sprintf("use at most %d characters, no spaces at the ends, and none of * ? \\", maxTagValue))
	}
	c.checkParameter(p)
	if c.CatalogueFile != "" {
		dir := filepath.Dir(c.CatalogueFile)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			p.add("catalogue_file", fmt.Sprintf("%q: there is no directory %s", c.CatalogueFile, dir), "make it, or choose another path")
		}
	}
}

func (c *Config) checkParameter(p *problems) {
	name := c.SSMParameter
	if name == "" {
		return
	}
	bare := strings.ToLower(strings.TrimPrefix(name, "/"))
	switch {
	case !regexp.MustCompile(`\A/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*\z`).MatchString(name) || len(name) > maxParameterName,
		strings.Contains(name, "/") && !strings.HasPrefix(name, "/"):
		p.add("ssm_parameter", fmt.Sprintf("is %q", name), "use a name such as /images/web")
	case strings.HasPrefix(bare, "aws") || strings.HasPrefix(bare, "ssm"):
		p.add("ssm_parameter", fmt.Sprintf("is %q", name), "names that begin with aws or ssm are AWS's own: choose another")
	}
}

func (c *Config) checkDeprecation(p *problems, now time.Time) {
	if c.DeprecateAt != "" && c.DeprecateAfter != "" {
		p.add("deprecate_at, deprecate_after", "both are set", "leave one of them out")
	}
	option, value := "deprecate_at", c.DeprecateAt
	if value == "" {
		option, value = "deprecate_after", c.DeprecateAfter
	}
	at, err := c.deprecation(now)
	most, whose := maxDeprecation, ""
	if c.public() {
		most, whose = maxPublicLifetime, " of a public image"
	}
	switch {
	case err != nil:
		p.add(option, fmt.Sprintf("is %q", value), err.Error())
	case at.IsZero():
	case !at.After(now):
		p.add(option, fmt.Sprintf("is %q, which is in the past", value), "use a time in the future")
	case at.Sub(now) > most:
		p.add(option, fmt.Sprintf("is %q; the deprecation%s can be at most %d years from now", value, whose, most/(365*day)), "use an earlier time")
	}
}

// deprecation returns when an image made now becomes deprecated; zero for
// never.
func (c Config) deprecation(now time.Time) (time.Time, error) {
	switch {
	case c.DeprecateAt != "":
		at, err := time.Parse(time.RFC3339, c.DeprecateAt)
		if err != nil {
			return at, fmt.Errorf("use RFC 3339, such as 2030-01-31T00:00:00Z")
		}
		return at.UTC(), nil
	case c.DeprecateAfter != "":
		after, err := period(c.DeprecateAfter)
		if err != nil {
			return time.Time{}, err
		}
		return now.UTC().Add(after).Truncate(time.Minute), nil
	default:
		return time.Time{}, nil
	}
}

// period reads "90d" or a Go duration.
func period(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * day, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	return 0, fmt.Errorf("use days such as 90d, or a duration such as 2160h")
}

// s3Place splits s3://bucket/key.
func s3Place(place string) (bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(place, "s3://")
	if !ok {
		return "", "", false
	}
	bucket, key, _ = strings.Cut(rest, "/")
	return bucket, key, true
}

func (c *Config) checkResume(p *problems) {
	if bucket, key, ok := s3Place(c.BlockManifest); ok && (bucket == "" || key == "" || strings.HasSuffix(key, "/")) {
		p.add("block_manifest", fmt.Sprintf("is %q", c.BlockManifest), "use s3://bucket/key or a path")
	} else if !ok && strings.Contains(c.BlockManifest, "://") {
		p.add("block_manifest", fmt.Sprintf("is %q", c.BlockManifest), "use s3://bucket/key or a path")
	}
	if c.JournalDirectory != "" {
		if info, err := os.Stat(c.JournalDirectory); err != nil || !info.IsDir() {
			p.add("journal_directory", fmt.Sprintf("there is no directory %q", c.JournalDirectory), "make it, or leave it out")
		}
	}
}
