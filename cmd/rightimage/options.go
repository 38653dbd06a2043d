// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/spf13/pflag"
)

// optionsPage holds the help texts of the options.
//
//go:embed options.md
var optionsPage string

// options are the flags made of a struct's mapstructure tags, with the values
// that were given. A new option of the builders is a flag the moment that it
// has a field, and both are read and checked by the same code.
type options struct {
	values map[string]any
	help   map[string]string
	skip   []string
}

// addOptions makes a flag of each option of a struct, but for the named ones.
func addOptions(flags *pflag.FlagSet, of any, skip ...string) *options {
	o := &options{values: map[string]any{}, help: readHelp(optionsPage), skip: skip}
	o.add(flags, reflect.TypeOf(of), "", o.values)
	return o
}

func (o *options) add(flags *pflag.FlagSet, t reflect.Type, prefix string, into map[string]any) {
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
		switch {
		case rest == "squash":
			o.add(flags, f.Type, prefix, into)
			continue
		case name == "" || name == "-" || slices.Contains(o.skip, prefix+name):
			continue
		case f.Type.Kind() == reflect.Struct:
			// An empty block is the same as none.
			inner := map[string]any{}
			into[name] = inner
			o.add(flags, f.Type, prefix+name+".", inner)
			continue
		}
		v := &optionValue{kind: kindOf(f.Type), name: name, into: into}
		flag := flags.VarPF(v, strings.ReplaceAll(prefix+name, "_", "-"), "", strings.ReplaceAll(o.help[prefix+name], "`", ""))
		if v.kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

func kindOf(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Bool, t == reflect.TypeFor[config.Trilean]():
		return "bool"
	case t == reflect.TypeFor[[]string]():
		return "list"
	case t == reflect.TypeFor[map[string]string]():
		return "key=value"
	case t.Kind() == reflect.Slice:
		return "json"
	case t.Kind() == reflect.String:
		return "string"
	case strings.HasSuffix(t.String(), "Duration"):
		return "duration"
	default:
		return "number"
	}
}

// optionValue is one flag. It only collects: types and rules are the business
// of the code that reads templates.
type optionValue struct {
	kind string
	name string
	into map[string]any
}

// Type implements pflag.Value: it is what help shows after the flag.
func (v *optionValue) Type() string { return v.kind }

// String implements pflag.Value. There is no default to show: the help texts
// name them.
func (v *optionValue) String() string { return "" }

// Set implements pflag.Value.
func (v *optionValue) Set(text string) error {
	old, twice := v.into[v.name]
	switch v.kind {
	case "list":
		list, _ := old.([]string)
		v.into[v.name] = append(list, strings.Split(text, ",")...)
	case "key=value":
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("there is no =: give it as key=value, and repeat the flag for more")
		}
		m, ok := old.(map[string]string)
		if !ok {
			m = map[string]string{}
			v.into[v.name] = m
		}
		m[key] = value
	case "json":
		var block map[string]any
		if err := json.Unmarshal([]byte(text), &block); err != nil {
			return fmt.Errorf(`give each block as a JSON object, such as {"name": "value"}, and repeat the flag for more: %w`, err)
		}
		list, _ := old.([]map[string]any)
		v.into[v.name] = append(list, block)
	default:
		if twice {
			return errors.New("it is given twice")
		}
		v.into[v.name] = text
	}
	return nil
}

// readHelp reads the tables of the page: rows of name, type and meaning. A
// heading says in which block the options are.
func readHelp(page string) map[string]string {
	help, prefix := map[string]string{}, ""
	for line := range strings.Lines(page) {
		if block, ok := strings.CutPrefix(line, "## "); ok {
			prefix = strings.TrimSpace(block) + "."
		}
		cells := strings.SplitN(strings.TrimSuffix(strings.TrimSpace(line), " |"), " | ", 3)
		if name, ok := strings.CutPrefix(cells[0], "| `"); ok && len(cells) == 3 {
			help[prefix+strings.TrimSuffix(name, "`")] = strings.ReplaceAll(cells[2], `\|`, "|")
		}
	}
	return help
}
