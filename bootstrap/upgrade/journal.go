// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Label is a version with its patch.
type Label struct {
	Version string `json:"version"`
	Patch   int    `json:"patch,omitempty"`
}

// String is 0.1.0, or 0.1.0+2 with patch 2.
func (l Label) String() string {
	if l.Patch == 0 {
		return l.Version
	}
	return fmt.Sprintf("%s+%d", l.Version, l.Patch)
}

// Phase is how far an upgrade came.
type Phase string

// The phases. Settled is the state between upgrades.
const (
	Settled  Phase = ""
	Applying Phase = "applying"
	Trial    Phase = "trial"
	Undoing  Phase = "undoing"
)

// Journal is what is known about upgrades of this machine.
type Journal struct {
	Phase Phase     `json:"phase,omitempty"`
	From  Label     `json:"from,omitzero"`
	To    Label     `json:"to,omitzero"`
	Since time.Time `json:"since,omitzero"`
	// Boots counts the boots of a trial; Boot is the id of the last one.
	Boots int    `json:"boots,omitempty"`
	Boot  string `json:"boot,omitempty"`
	// Old is the process id of the agent before the restart.
	Old int `json:"old,omitempty"`
	// Why is the reason of an undoing.
	Why string `json:"why,omitempty"`
	// Patched is the patch level of the installed version, and Digest the SHA-256
	// of the patched agent: a package put in by hand ends it.
	Patched Label  `json:"patched,omitzero"`
	Digest  string `json:"digest,omitempty"`
	// Wanted is the RS_version of user-data that was last acted upon.
	Wanted string `json:"wanted,omitempty"`
	// Refused are labels that failed, with the time.
	Refused map[string]time.Time `json:"refused,omitempty"`
	// Last is the last result, for people.
	Last string `json:"last,omitempty"`
}

// IsRefused says that a label failed here a short while ago.
func (j Journal) IsRefused(l Label) bool {
	at, ok := j.Refused[l.String()]
	return ok && time.Since(at) < refusedFor
}

// Level is the patch level of an installed version.
func (u *Upgrader) Level(j Journal, version string) int {
	if j.Patched.Version != version || j.Digest == "" || j.Digest != u.digest() {
		return 0
	}
	return j.Patched.Patch
}

// Load reads the journal. A damaged one counts as none.
func (u *Upgrader) Load() (Journal, error) {
	var j Journal
	text, err := os.ReadFile(u.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return j, err
	}
	if json.Unmarshal(text, &j) != nil {
		return Journal{}, nil //nolint:nilerr // damaged: as if nothing had been
	}
	return j, nil
}

// SetWanted notes the RS_version that is acted upon.
func (u *Upgrader) SetWanted(v string) error {
	j, err := u.Load()
	if err != nil || j.Wanted == v {
		return err
	}
	j.Wanted = v
	return u.save(j)
}

func (u *Upgrader) save(j Journal) error {
	for label, at := range j.Refused {
		if time.Since(at) > refusedFor {
			delete(j.Refused, label)
		}
	}
	text, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(u.journal(), append(text, '\n'), 0o600, 0o755)
}

func (u *Upgrader) journal() string {
	return filepath.Join(u.Root, "var/lib/rightscale/upgrade.json")
}
