// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// templated reports whether a text is filled in when the image is made.
func templated(text string) bool { return strings.Contains(text, "{{") }

// late checks the syntax of a template that is filled in later, and reports
// whether the text is none, and its rules can be checked now.
func (c *Config) late(p *problems, option, text string) bool {
	if !templated(text) {
		return true
	}
	ctx := c.TemplateContext
	if err := interpolate.Validate(text, &ctx); err != nil {
		p.add(option, fmt.Sprintf("the template %q: %v", text, err), "correct it")
	}
	return false
}

func (c *Config) checkTags(p *problems) {
	snap := maps.Clone(c.SnapshotTags)
	c.SnapshotTag.CopyOn(&snap)
	image := c.userTags()
	for option, tags := range map[string]map[string]string{"tags": image, "snapshot_tags": snap} {
		for _, k := range sortedKeys(tags) {
			if plain := c.late(p, option, k) && c.late(p, option, tags[k]); !plain {
				delete(tags, k)
				tags[clip(k, maxTagKey)] = "" // it counts all the same
			}
		}
	}
	c.checkTagRules(p, image, snap)
}

// checkTagRules holds the rules of the tags of images and snapshots, ours
// included.
func (c *Config) checkTagRules(p *problems, image, snap map[string]string) {
	ours := len(c.ownTags())
	p.addAll("tags", checkTags(image, ours), "change the tags")
	p.addAll("snapshot_tags", checkTags(snap, 0), "change the tags")
	all := maps.Clone(image)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, snap)
	if n := len(all) + ours; n > maxTags && len(image)+ours <= maxTags {
		p.add("snapshot_tags", fmt.Sprintf("a snapshot can have at most %d tags and would have %d, those of tags and ours included", maxTags, n), "use fewer")
	}
}

// fillIn renders the templates of tags and description with what is known now,
// and checks the results.
func (c *Config) fillIn() error {
	var p problems
	text := func(option, s string) string {
		if !templated(s) {
			return s
		}
		ctx := c.TemplateContext
		ctx.Data = c.TemplateData
		out, err := interpolate.Render(s, &ctx)
		if err == nil && strings.Contains(out, "<no value>") {
			err = fmt.Errorf("it asks for something that is not known here; known are %s", c.known())
		}
		if err != nil {
			p.add(option, fmt.Sprintf("the template %q: %v", s, err), "correct it")
		}
		return out
	}
	c.AMIDescription = text("ami_description", c.AMIDescription)
	p.addAll("ami_description", checkDescription(c.AMIDescription), "change the text")
	render := func(option string, in map[string]string) map[string]string {
		out := map[string]string{}
		for _, k := range sortedKeys(in) {
			out[text(option, k)] = text(option, in[k])
		}
		return out
	}
	c.SnapshotTag.CopyOn(&c.SnapshotTags)
	c.Tags, c.Tag = render("tags", c.userTags()), nil
	c.SnapshotTags, c.SnapshotTag = render("snapshot_tags", c.SnapshotTags), nil
	c.checkTagRules(&p, c.Tags, c.SnapshotTags)
	return p.join()
}

// known lists what templates can ask for.
func (c *Config) known() string {
	var names []string
	for k := range c.TemplateData {
		names = append(names, "."+k)
	}
	if len(names) == 0 {
		return "no values"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
