// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package docs tests what the guides say against the code.
package docs

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/ebs"
	"github.com/rightimage/packer-plugin-rightimage/postprocessor"
)

// addOptions collects the options of a struct.
func addOptions(to map[string]bool, t reflect.Type) {
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
		if rest == "squash" {
			addOptions(to, f.Type)
		} else if name != "" && name != "-" {
			to[name] = true
		}
	}
}

// The middle column of the tables of docs/migrating.md names options that there
// are, and what the first one names for removal there is not.
func TestMigratingNamesRealOptions(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrating.md")
	require.NoError(t, err)
	options := map[string]map[string]bool{"rightimage-ebs": {}, "rightimage-publish": {"keep_input_artifact": true}}
	addOptions(options["rightimage-ebs"], reflect.TypeFor[ebs.Config]())
	addOptions(options["rightimage-publish"], reflect.TypeFor[postprocessor.Config]())
	word := regexp.MustCompile("`([a-z0-9_]+)`")
	var ours map[string]bool
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			ours = nil
			continue
		}
		if m := regexp.MustCompile("`(rightimage-[a-z]+)`").FindStringSubmatch(cells[2]); m != nil {
			ours = options[m[1]]
			continue
		}
		if ours == nil {
			continue
		}
		for _, m := range word.FindAllStringSubmatch(cells[2], -1) {
			rows++
			require.True(t, ours[m[1]], "there is no option %s: %s", m[1], line)
		}
		if strings.TrimSpace(cells[2]) == "–" {
			for _, m := range word.FindAllStringSubmatch(cells[1], -1) {
				rows++
				require.False(t, ours[m[1]], "there is an option %s: %s", m[1], line)
			}
		}
	}
	require.Greater(t, rows, 60)
}
