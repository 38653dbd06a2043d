// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package secret holds a string type that cannot print itself, so that a token
// or credential never reaches a log, an error text or a JSON dump by accident.
package secret

import "log/slog"

const hidden = "(hidden)"

// String is a secret value. Reveal is the only way to read it.
type String string

// Reveal returns the value. Call it only where the value leaves the process on
// purpose: an Authorization header, a file of mode 0600.
func (s String) Reveal() string { return string(s) }

// String hides the value from fmt.
func (String) String() string { return hidden }

// GoString hides the value from %#v.
func (String) GoString() string { return hidden }

// LogValue hides the value from slog.
func (String) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the value from encoding/json and friends.
func (String) MarshalText() ([]byte, error) { return []byte(hidden), nil }
