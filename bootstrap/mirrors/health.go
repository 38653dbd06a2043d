// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package mirrors

import (
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// health is what is remembered of one mirror.
type health struct {
	// Failures in a row.
	Failures  int       `json:"failures"`
	Failed    time.Time `json:"failed,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	Good      time.Time `json:"good,omitzero"`
}

// Penalties of a mirror that failed: it comes after the others for a minute,
// doubling with each failure up to an hour. It is never left out.
const (
	minPenalty = time.Minute
	maxPenalty = time.Hour
)

// maxHealthText bounds what is kept of an error.
const maxHealthText = 300

func (h health) penalised(now time.Time) bool {
	if h.Failures == 0 {
		return false
	}
	d := maxPenalty
	if h.Failures < 7 {
		d = minPenalty << (h.Failures - 1)
	}
	since := now.Sub(h.Failed)
	return since >= 0 && since < d // a clock that was set back ends a penalty
}

func (m *Mirrors) healthFile() string { return m.path(StateDir, "health.json") }

func (m *Mirrors) health() map[string]health {
	all := map[string]health{}
	if text, err := os.ReadFile(m.healthFile()); err == nil && json.Unmarshal(text, &all) != nil {
		all = map[string]health{} // damaged: nothing is known
	}
	return all
}

// ordered is the list with those last that failed a short while ago.
func (m *Mirrors) ordered() []string {
	all, now := m.health(), time.Now()
	list := slices.Clone(m.list)
	slices.SortStableFunc(list, func(a, b string) int {
		x, y := all[a].penalised(now), all[b].penalised(now)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	})
	return slices.Compact(list)
}

// note remembers how a mirror did. That it cannot be written is no reason not
// to use mirrors.
func (m *Mirrors) note(base string, err error) {
	all := m.health()
	h := all[base]
	if err == nil {
		if h.Failures == 0 && time.Since(h.Good) < 24*time.Hour {
			return // no news
		}
		h = health{Good: time.Now().UTC().Truncate(time.Second)}
	} else {
		h.Failures++
		h.Failed, h.LastError = time.Now().UTC().Truncate(time.Second), err.Error()
		if len(h.LastError) > maxHealthText {
			h.LastError = h.LastError[:maxHealthText]
		}
	}
	all[base] = h
	for old := range all {
		if !slices.Contains(m.list, old) {
			delete(all, old)
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = atomicfile.Write(m.healthFile(), append(text, '\n'), 0o600)
	}
	if err != nil {
		m.o.Log.Debug("remember the mirrors' health", "error", err)
	}
}
