// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rightscript

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Kind is the form of an input value.
type Kind string

// The forms of a value (2.0 serialisation).
const (
	KindText    Kind = "text"    // text:abc, literal
	KindCred    Kind = "cred"    // cred:NAME, a credential of the account
	KindEnv     Kind = "env"     // env:VAR or env:SERVER:VAR
	KindKey     Kind = "key"     // key:NAME or key:NAME:CLOUD, SSH key material
	KindArray   Kind = "array"   // array:["text:a","cred:B"]
	KindBlank   Kind = "blank"   // set to the empty string
	KindIgnore  Kind = "ignore"  // not set at all
	KindInherit Kind = "inherit" // no value at this level; look one level lower
)

// MaxValue is the limit of a value in bytes. Linux refuses an environment
// variable above 128 KiB (MAX_ARG_STRLEN); half of it leaves room for the name
// and for scripts that quote the value.
const MaxValue = 64 << 10

// Value is one input value. The zero Value means "no value given".
type Value struct {
	Kind Kind
	// Text is the literal, or the name of a credential, variable or key.
	Text string
	// Component is the server named in env:SERVER:VAR, or the cloud in
	// key:NAME:CLOUD.
	Component string
	Items     []Value
}

// Errors that callers tell apart.
var (
	ErrForm     = errors.New(`want one of text:VALUE, cred:NAME, env:VAR, env:SERVER:VAR, key:NAME, array:["text:a",…], blank, ignore, inherit`)
	ErrTooLong  = fmt.Errorf("longer than %d bytes", MaxValue)
	ErrEncoding = errors.New("holds a NUL byte or is not UTF-8")
)

// ParseValue reads the textual form.
func ParseValue(s string) (Value, error) {
	if len(s) > MaxValue {
		return Value{}, ErrTooLong
	}
	if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
		return Value{}, ErrEncoding
	}
	switch s {
	case "blank", "ignore", "inherit":
		return Value{Kind: Kind(s)}, nil
	}
	prefix, rest, found := strings.Cut(s, ":")
	if !found {
		return Value{}, fmt.Errorf("%q: %w", shorten(s), ErrForm)
	}
	switch Kind(prefix) {
	case KindText:
		return Value{Kind: KindText, Text: rest}, nil
	case KindCred:
		return named(KindCred, rest, "")
	case KindEnv:
		return parseEnv(rest)
	case KindKey:
		name, cloud, _ := strings.Cut(rest, ":")
		return named(KindKey, name, cloud)
	case KindArray:
		return parseArray(rest)
	default:
		return Value{}, fmt.Errorf("%q: %w", shorten(s), ErrForm)
	}
}

func named(kind Kind, name, component string) (Value, error) {
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "\r\n") {
		return Value{}, fmt.Errorf("%s: wants a name on one line after the colon, got %q", kind, shorten(name))
	}
	return Value{Kind: kind, Text: name, Component: component}, nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func parseEnv(rest string) (Value, error) {
	component, name := "", rest
	if i := strings.LastIndexByte(rest, ':'); i >= 0 {
		component, name = rest[:i], rest[i+1:]
		if component == "" {
			return Value{}, fmt.Errorf("env:%s: the server's name is empty", rest)
		}
	}
	if !variableName.MatchString(name) {
		return Value{}, fmt.Errorf("env: %q is not the name of a variable (letters, digits, _)", shorten(name))
	}
	return Value{Kind: KindEnv, Text: name, Component: component}, nil
}

func parseArray(rest string) (Value, error) {
	var raw []string
	if err := json.Unmarshal([]byte(rest), &raw); err != nil {
		return Value{}, fmt.Errorf(`array: wants a JSON list of strings like ["text:a","cred:B"]: %w`, err)
	}
	v := Value{Kind: KindArray, Items: make([]Value, 0, len(raw))}
	for i, s := range raw {
		item, err := ParseValue(s)
		if err != nil {
			return Value{}, fmt.Errorf("array item %d: %w", i+1, err)
		}
		switch item.Kind {
		case KindText, KindCred, KindEnv, KindKey:
			v.Items = append(v.Items, item)
		default:
			return Value{}, fmt.Errorf("array item %d: %s cannot stand in an array", i+1, item.Kind)
		}
	}
	return v, nil
}

// IsZero tells whether no value was given.
func (v Value) IsZero() bool { return v.Kind == "" }

// String writes the textual form; ParseValue reads it back. A text value may be
// private to its owner, but it is not a secret: secrets are credentials.
func (v Value) String() string {
	switch v.Kind {
	case KindText, KindCred:
		return string(v.Kind) + ":" + v.Text
	case KindEnv:
		if v.Component != "" {
			return "env:" + v.Component + ":" + v.Text
		}
		return "env:" + v.Text
	case KindKey:
		if v.Component != "" {
			return "key:" + v.Text + ":" + v.Component
		}
		return "key:" + v.Text
	case KindArray:
		items := make([]string, len(v.Items))
		for i, item := range v.Items {
			items[i] = item.String()
		}
		raw, err := json.Marshal(items)
		if err != nil { // strings always marshal
			return "array:[]"
		}
		return "array:" + string(raw)
	default:
		return string(v.Kind)
	}
}

// MarshalText writes the textual form.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads the textual form; empty text is the zero Value.
func (v *Value) UnmarshalText(raw []byte) error {
	if len(raw) == 0 {
		*v = Value{}
		return nil
	}
	parsed, err := ParseValue(string(raw))
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

func shorten(s string) string {
	if len(s) <= 40 {
		return s
	}
	return strings.ToValidUTF8(s[:40], "") + "…"
}
