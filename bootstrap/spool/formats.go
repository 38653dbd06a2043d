// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Texts at the top of generated files.
const (
	warning  = "# Written by bootstrap. Changes are lost: the file is made anew from user-data\n# and metadata of the cloud.\n"
	rubyHead = "# encoding: utf-8\n" + warning
	shHead   = "#!/bin/bash\n" + warning
)

// maxEnv bounds one variable: the kernel refuses to start any program while the
// environment holds a string of 128 KiB or more.
const maxEnv = 100 << 10

// variable is a flattened name with its value.
type variable struct{ name, value string }

// EnvName is the flattening rule: components joined by "_", every character
// outside [A-Za-z0-9_] replaced by "_", upper case, and prefix put before it
// unless the result begins with prefix or RS_ already.
func EnvName(prefix string, path ...string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, strings.Join(path, "_"))
	if strings.HasPrefix(name, "RS_") || strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}

// variables flattens leaves; where two names become one the last leaf wins;
// blank keys are left out.
func variables(prefix string, leaves []leaf) []variable {
	var vars []variable
	at := map[string]int{}
	for _, l := range leaves {
		name := EnvName(prefix, l.path...)
		if strings.Trim(strings.Join(l.path, ""), " ") == "" {
			continue
		}
		if i, seen := at[name]; seen {
			vars[i].value = l.value
			continue
		}
		at[name] = len(vars)
		vars = append(vars, variable{name, l.value})
	}
	return vars
}

// dict renders KEY=first line, trimmed and unquoted.
func dict(vars []variable) []byte {
	var b strings.Builder
	for _, v := range vars {
		first, _, _ := strings.Cut(v.value, "\n")
		fmt.Fprintf(&b, "%s=%s\n", v.name, strings.TrimSpace(strings.ReplaceAll(first, "\x00", "")))
	}
	return []byte(b.String())
}

// shell renders a file to be sourced. Inside double quotes these four
// characters are special in every Bourne shell. The original left "$" and
// backticks alone, so that they expanded; we never execute data. A variable
// cannot hold NUL: it is dropped.
func shell(vars []variable) []byte {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`", "\x00", "")
	return env(shHead, vars, func(v variable) string {
		return "export " + v.name + `="` + escape.Replace(v.value) + `"`
	})
}

// ruby renders a file to be loaded. In single quotes only \ and ' are special;
// what Ruby would change while reading (CR, bytes that are no UTF-8) goes into
// an adjacent double-quoted literal.
func ruby(vars []variable) []byte {
	return env(rubyHead, vars, func(v variable) string {
		return "ENV['" + v.name + "']=" + rubyString(v.value)
	})
}

func rubyString(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == 0: // no variable can hold it
		case r == '\'' || r == '\\':
			b.WriteString(`\` + s[:1])
		case r == '\r' || r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `'"\x%02x"'`, s[0])
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	b.WriteByte('\'')
	return b.String()
}

func env(head string, vars []variable, assign func(variable) string) []byte {
	var b strings.Builder
	b.WriteString(head)
	for _, v := range vars {
		if len(v.name)+len(v.value) > maxEnv {
			fmt.Fprintf(&b, "# left out, too large for an environment variable (%d bytes): %.80s\n", len(v.value), v.name)
			continue
		}
		b.WriteString(assign(v) + "\n")
	}
	return []byte(b.String())
}

// refreshRuby is meta-data.rb: loading it refreshes the metadata first.
func refreshRuby() []byte {
	argv := "'" + strings.Join(strings.Fields(RefreshCommand), "', '") + "'"
	return []byte(rubyHead +
		"raise 'cannot refresh the cloud metadata' unless system(" + argv + ")\n" +
		"require File.join(File.dirname(File.expand_path(__FILE__)), 'meta-data-cache')\n")
}
