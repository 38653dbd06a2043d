// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

const (
	// tagPrefix starts the tags that say where an image comes from.
	tagPrefix = "rightimage:"
	// tagPublishID finds what one run made, even if a reply was lost. It is
	// always set.
	tagPublishID = tagPrefix + "publish-id"
	// tagTemporary and tagCreated mark what is only there for a while.
	tagTemporary = tagPrefix + "temporary"
	tagCreated   = tagPrefix + "created"
	// tagFamily holds the option family.
	tagFamily = tagPrefix + "family"
)

// ownTags are the tags that we add: where an image comes from, its family, and
// what finds it again.
func (c Config) ownTags() map[string]string {
	tags := map[string]string{tagPublishID: c.publishID}
	if c.Family != "" {
		tags[tagFamily] = c.Family
	}
	if c.SkipProvenanceTags {
		return tags
	}
	tags[tagPrefix+"version"] = version.String()
	for k, v := range c.Provenance {
		if v != "" {
			tags[tagPrefix+k] = clip(v, maxTagValue)
		}
	}
	return tags
}

// imageTags are the tags of an image: the template's win over ours, except for
// those that images are found by.
func (c Config) imageTags() map[string]string {
	tags := c.ownTags()
	for k, v := range c.userTags() {
		if k != tagPublishID && (k != tagFamily || c.Family == "") {
			tags[k] = v
		}
	}
	return tags
}

// snapshotTags are the tags of a snapshot; publishID is that of its upload.
func (c Config) snapshotTags(publishID string) map[string]string {
	tags := c.imageTags()
	maps.Copy(tags, c.SnapshotTags)
	c.SnapshotTag.CopyOn(&tags)
	tags[tagPublishID] = publishID
	return tags
}

func (c Config) userTags() map[string]string {
	tags := maps.Clone(c.Tags)
	c.Tag.CopyOn(&tags)
	return tags
}

// ec2Tags and ebsTags are sorted, so that a repeated request is the same
// request.
func ec2Tags(tags map[string]string) []ec2types.Tag {
	var out []ec2types.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

func ebsTags(tags map[string]string) []ebstypes.Tag {
	var out []ebstypes.Tag
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, ebstypes.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// tagged is what a create call needs to make a thing with its tags.
func tagged(kind ec2types.ResourceType, tags map[string]string) []ec2types.TagSpecification {
	if len(tags) == 0 {
		return nil
	}
	return []ec2types.TagSpecification{{ResourceType: kind, Tags: ec2Tags(tags)}}
}

// tagOf returns the value of a tag; "" when there is none.
func tagOf(tags []ec2types.Tag, key string) string {
	return tagMap(tags)[key]
}

func tagMap(tags []ec2types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		if k := aws.ToString(t.Key); !strings.HasPrefix(k, "aws:") { // AWS's own cannot be set
			out[k] = aws.ToString(t.Value)
		}
	}
	return out
}

// temporaryTags are the tags of an image that is only there to make another. A
// sweep finds it by them when its builder is dead.
func (c Config) temporaryTags() map[string]string {
	return map[string]string{
		tagPublishID: c.publishID,
		tagTemporary: c.publishID,
		tagCreated:   time.Now().UTC().Format(time.RFC3339),
	}
}

// clip shortens a text to so many characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}
