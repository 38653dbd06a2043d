// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

const tagUsage = `rs_tag shows and changes the tags of this instance, and finds instances by tag.

usage: rs_tag --list | --add TAG | --remove TAG | --query "TAG …" [options]

  -l, --list          the tags of this instance
  -a, --add TAG       add a tag, namespace:predicate=value or a plain word; a tag
                      of the same namespace and predicate is replaced; repeatable
  -r, --remove TAG    remove a tag; repeatable
  -q, --query TAGS    instances that carry any of the tags; a:b=* and a:* match
                      all values and a whole namespace
  -f, --format FMT    json (default), yaml or text
  -t, --timeout SEC   how long to wait for the platform (default 120)
  -e, --die           exit code 1 if a query finds nothing
`

func runTag(c *call) error {
	var list, die bool
	var add, remove []string
	query, format, limit := "", "json", askTimeout
	c.yes(&list, "list", "l")
	c.yes(&die, "die", "e")
	c.list(&add, "add", "a")
	c.list(&remove, "remove", "r")
	c.text(&query, "query", "q")
	c.text(&format, "format", "f")
	c.seconds(&limit, "timeout", "t")
	if err := c.parseAll(); err != nil {
		return err
	}
	if format != "json" && format != "yaml" && format != "text" {
		return c.wrong("--format wants json, yaml or text")
	}
	switch change := len(add)+len(remove) > 0; {
	case query != "" && !list && !change:
		return c.queryTags(strings.Fields(query), format, limit, die)
	case list && query == "" && !change:
		text, err := c.askWithin(limit, "GET", "/rll/tags", "")
		if err != nil {
			return err
		}
		return c.print(format, nonEmptyLines(text))
	case change && query == "" && !list:
		body, err := json.Marshal(map[string][]string{"add": add, "remove": remove})
		if err != nil {
			return err
		}
		_, err = c.askWithin(limit, "PUT", "/rll/tags", string(body))
		return err
	}
	return c.wrong("want one of --list, --add, --remove and --query")
}

func nonEmptyLines(text string) []string {
	lines := []string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func (c *call) queryTags(tags []string, format string, limit time.Duration, die bool) error {
	body, err := json.Marshal(wire.TagsRequest{ResourceType: "instances", Tags: tags})
	if err != nil {
		return err
	}
	text, err := c.askWithin(limit, "POST", "/api"+wire.PathTagsByTag, string(body))
	if err != nil {
		return err
	}
	var found []wire.TaggedResource
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return fmt.Errorf("the platform's answer: %w", err)
	}
	result := map[string]map[string][]string{}
	for _, r := range found {
		names := []string{}
		for _, t := range r.Tags {
			names = append(names, t.Name)
		}
		result[r.Href()] = map[string][]string{"tags": names}
	}
	if die && len(result) == 0 {
		return errors.New("no instance carries any of these tags")
	}
	if format == "text" {
		for _, r := range found {
			fmt.Fprintln(c.Stdout, r.Href()+" "+strings.Join(result[r.Href()]["tags"], " "))
		}
		return nil
	}
	return c.print(format, result)
}

// print writes a value in the wanted format.
func (c *call) print(format string, v any) error {
	switch lines, isList := v.([]string); {
	case format == "text" && isList:
		for _, line := range lines {
			fmt.Fprintln(c.Stdout, line)
		}
		return nil
	case format == "yaml":
		text, err := yaml.Marshal(v)
		fmt.Fprint(c.Stdout, string(text))
		return err
	}
	enc := json.NewEncoder(c.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
