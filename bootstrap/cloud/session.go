// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// session is what the stages of one boot share: each is a process of its own
// and would ask the metadata service for the same things again. It lies below
// /run, readable by root alone, and counts in one boot only. It saves requests
// and nothing else: without it, or with a damaged one, everything is asked anew.
type session struct {
	path string // empty: nothing is shared

	Boot    string            `json:"boot"`
	Base    string            `json:"base"`
	Token   string            `json:"token,omitempty"`
	Expires time.Time         `json:"expires,omitzero"`
	Values  map[string]string `json:"values,omitempty"`
}

// openSession reads the file, if it is of this boot and service.
func openSession(o Options, base string) *session {
	fresh := &session{path: o.Session, Boot: o.Boot, Base: base}
	if o.Session == "" || o.Boot == "" {
		fresh.path = ""
		return fresh
	}
	var s session
	text, err := os.ReadFile(o.Session)
	if err != nil || json.Unmarshal(text, &s) != nil || s.Boot != o.Boot || s.Base != base {
		return fresh
	}
	s.path = o.Session
	if time.Now().After(s.Expires) {
		s.Token = ""
	}
	return &s
}

// save writes the file. It needs no sync: it dies with the boot. That it cannot
// be written costs requests, so the error is nobody's.
func (s *session) save() {
	if s.path == "" {
		return
	}
	text, err := json.Marshal(s)
	if err != nil || os.MkdirAll(filepath.Dir(s.path), 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), ".session-") // 0600
	if err != nil {
		return
	}
	_, err = f.Write(text)
	if f.Close() != nil || err != nil || os.Rename(f.Name(), s.path) != nil {
		_ = os.Remove(f.Name())
	}
}
