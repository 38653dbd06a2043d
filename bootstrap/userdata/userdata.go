// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package userdata reads what a launch puts into user-data: the RS_ query
// string, an RL10 identity in a MIME document or a cloud-config, gzip around
// any of them. It never executes anything and never fails: what it does not
// understand stays raw.
package userdata

import (
	"log/slog"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
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

// Settings are the platform settings of one launch.
type Settings struct {
	ClientID         string
	ClientSecret     secret.String
	Account          string // may be empty in the query form
	APIHostname      string // host or host:port
	HTTPProxy        string
	NoProxy          string
	ContactEmail     string
	AutoLaunch       string
	ExpectedPublicIP string

	// Version is RS_version, Src RS_src, PatchURL RS_patch_url, by the seed
	// script's rules; empty when absent.
	Version  string
	Src      string
	PatchURL string

	// Form is the form that the settings came from.
	Form Form
}

// Parse reads user-data. It accepts any bytes.
func Parse(raw []byte) Data { return Data{Raw: raw, Form: FormRaw} }

// Settings returns the platform settings, and false when user-data has none or
// only a part of them (Problems then says what is missing).
func (d Data) Settings() (Settings, bool) { return Settings{}, false }

// Get returns the value of a pair; the key's letter case does not matter.
func (d Data) Get(key string) (string, bool) { return "", false }

// Identity renders the RL10 identity file (/var/lib/rightscale-identity, mode
// 0600): shell assignments in single quotes.
func (s Settings) Identity() []byte { return nil }

// ParseIdentity reads the content of an identity file; false when a required
// key is missing.
func ParseIdentity(content []byte) (Settings, bool) { return Settings{}, false }

// String hides the content.
func (d Data) String() string { return "user-data (" + string(d.Form) + ")" }

// GoString hides the content from %#v.
func (d Data) GoString() string { return d.String() }

// LogValue hides the content from slog.
func (d Data) LogValue() slog.Value { return slog.StringValue(d.String()) }
