// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package userdata reads what a launch puts into user-data: the RS_ query
// string, an RL10 identity in a MIME document or a cloud-config, gzip around
// any of them. It never executes anything and never fails: what it does not
// understand stays raw.
package userdata

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Form says what kind of document user-data is.
type Form string

// The forms of user-data.
const (
	FormEmpty       Form = "empty"
	FormQuery       Form = "query"        // RS_key=value&…
	FormMIME        Form = "mime"         // multipart document
	FormCloudConfig Form = "cloud-config" // #cloud-config
	FormScript      Form = "script"       // #!…
	FormRaw         Form = "raw"          // anything else
)

// Pair is one key and its value, spelled as received.
type Pair struct{ Key, Value string }

// Data is parsed user-data. It holds secrets: it prints as its form only.
type Data struct {
	// Raw is every byte as received, compressed if it was.
	Raw []byte
	// Form is the kind of document found (inside the gzip, if any).
	Form Form
	// Gzip says that Raw is compressed.
	Gzip bool
	// Pairs are the query string's pairs in order, without duplicates (the
	// last value wins); empty for other forms.
	Pairs []Pair
	// Problems says, without secrets, what was ignored and why.
	Problems []string

	text     string // decompressed, line ends normalised
	identity []Pair // RL10 identity assignments, if a document carries them
}

// Parse reads user-data. It accepts any bytes.
func Parse(raw []byte) Data {
	d := Data{Raw: raw}
	body, zipped, err := gunzip(raw)
	d.Gzip = zipped
	if err != nil {
		d.Form = FormRaw
		d.problem("gzip: %v; kept raw", err)
		return d
	}
	d.text = normalise(body)
	d.Form = formOf(d.text)
	switch d.Form {
	case FormQuery:
		d.Pairs = d.parseQuery(d.text)
	case FormMIME:
		d.identity = d.fromMIME(d.text)
	case FormCloudConfig:
		d.identity = d.fromCloudConfig(d.text)
	case FormScript:
		d.identity = d.fromScript(d.text)
	case FormEmpty, FormRaw:
	}
	return d
}

// Get returns the value of a pair; the key's letter case does not matter. When
// two spellings are present the later pair wins.
func (d Data) Get(key string) (string, bool) { return lookup(d.Pairs, key) }

func (d *Data) problem(format string, args ...any) {
	d.Problems = append(d.Problems, fmt.Sprintf(format, args...))
}

func lookup(pairs []Pair, key string) (string, bool) {
	for _, p := range slices.Backward(pairs) {
		if strings.EqualFold(p.Key, key) {
			return p.Value, true
		}
	}
	return "", false
}

// String hides the content.
func (d Data) String() string { return "user-data (" + string(d.Form) + ")" }

// GoString hides the content from %#v.
func (d Data) GoString() string { return d.String() }

// LogValue hides the content from slog.
func (d Data) LogValue() slog.Value { return slog.StringValue(d.String()) }
