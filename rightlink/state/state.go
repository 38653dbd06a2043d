// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package state keeps the run state of the agent: what it is, what the
// platform was told, and what a start of the agent means (first boot, reboot,
// stop and start, a bundled image, or merely a new process).
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// File is state.js. The names of RightLink 6 are kept; boot_id and rebooted
// are ours.
type File struct {
	Value                   string   `json:"value"`
	Identity                string   `json:"identity"`
	Uptime                  float64  `json:"uptime"`
	Reboot                  bool     `json:"reboot"`
	StartupTags             []string `json:"startup_tags"`
	LogLevel                int      `json:"log_level"`
	RecordRetries           int      `json:"record_retries"`
	LastRecordedValue       string   `json:"last_recorded_value"`
	LastCommunication       int64    `json:"last_communication"`
	LastObservedResourceUID string   `json:"last_observed_resource_uid"`
	DecommissionType        string   `json:"decommission_type,omitempty"`
	// BootID is the kernel's id of the boot in which the file was written. It
	// tells a reboot from a restart of the agent even if nobody set Reboot.
	BootID string `json:"boot_id,omitempty"`
	// Rebooted says that the boot of BootID is not the instance's first.
	Rebooted bool `json:"rebooted,omitempty"`
}

// Start is what a start of the agent means.
type Start string

// The kinds of start.
const (
	FirstBoot Start = "first boot"
	Reboot    Start = "reboot"         // of the same instance, with the same identity
	StopStart Start = "stop and start" // same instance, new identity
	Bundled   Start = "new instance of a bundled image"
	Restart   Start = "restart of the agent" // same boot: nothing is run again
	// Again is a start in the boot in which the agent was stopped and the
	// instance decommissioned: the boot scripts run once more.
	Again Start = "start after a decommission"
)

// Store is the state on disk. It is safe for use by several goroutines.
type Store struct {
	root paths.Root

	mu    sync.Mutex
	file  File
	known bool
}

// communicationEvery is how often the time of the last contact is written.
const communicationEvery = 2 // seconds

// Open reads state.js. A file that cannot be parsed is set aside and treated
// as missing: the agent must be able to boot.
func Open(root paths.Root) (*Store, error) {
	s := &Store{root: root}
	text, err := os.ReadFile(root.State())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return s, nil
	case err != nil:
		return nil, fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, &s.file); err != nil {
		s.file = File{}
		if err := os.Rename(root.State(), root.State()+".damaged"); err != nil {
			return nil, fmt.Errorf("set the damaged state aside: %w", err)
		}
		return s, nil
	}
	s.known = true
	return s, nil
}

// Get returns a copy of the state; false if there is none yet.
func (s *Store) Get() (File, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file, s.known
}

// Begin applies the rules for a start of the agent with the given identity on
// the given instance and saves the outcome.
func (s *Store) Begin(identity, resourceUID string) (Start, error) {
	bootID := s.root.BootID()
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.classify(identity, resourceUID, bootID)
	f := &s.file
	switch start {
	case FirstBoot:
		*f = File{LogLevel: 1, LastRecordedValue: wire.StatePending}
	case Bundled:
		// What the other instance did says nothing about this one.
		*f = File{LogLevel: f.LogLevel, LastRecordedValue: wire.StatePending}
	case StopStart:
		// The platform sees a new instance.
		f.LastRecordedValue = wire.StatePending
	case Reboot, Restart, Again:
		// The same instance: what was recorded stays true.
	}
	if start != Restart {
		f.Value, f.RecordRetries, f.DecommissionType = wire.StateBooting, 0, ""
		f.Rebooted = start == Reboot || start == StopStart || start == Again && f.Rebooted
	}
	if f.StartupTags == nil {
		f.StartupTags = []string{}
	}
	f.Identity, f.LastObservedResourceUID, f.BootID = identity, resourceUID, bootID
	f.Reboot = false // done with; Rebooted remembers it
	s.known = true
	return start, s.save()
}

func (s *Store) classify(identity, resourceUID, bootID string) Start {
	f := s.file
	sameBoot := bootID != "" && bootID == f.BootID
	switch {
	case !s.known || f.Value == "":
		return FirstBoot
	case f.Identity != identity && resourceUID != "" && resourceUID == f.LastObservedResourceUID:
		return StopStart
	case f.Identity != identity:
		return Bundled
	case sameBoot && f.Value == wire.StateDecommissioned:
		return Again
	case sameBoot:
		// The flag may be set by a hook that ran once more in this boot; the
		// kernel knows better.
		return Restart
	case f.Reboot || bootID != "" && f.BootID != "":
		return Reboot
	}
	return Restart
}

// save writes the file; the caller holds the lock.
func (s *Store) save() error {
	if first, _, ok := strings.Cut(s.root.Uptime(), " "); ok {
		if up, err := strconv.ParseFloat(first, 64); err == nil {
			s.file.Uptime = up
		}
	}
	return writeJSON(s.root.State(), s.file)
}

// Set changes the value and saves it. kind is the kind of a shutdown, empty
// before one.
func (s *Store) Set(value, kind string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file.Value != value {
		s.file.RecordRetries = 0
	}
	s.file.Value, s.file.DecommissionType = value, kind
	return s.save()
}

// Contact notes that the platform was heard at the given time.
func (s *Store) Contact(at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known || at.Unix()-s.file.LastCommunication < communicationEvery {
		return nil
	}
	s.file.LastCommunication = at.Unix()
	return s.save()
}

// SetStartupTags notes the tags that the instance had when it booted.
func (s *Store) SetStartupTags(tags []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.StartupTags = append([]string{}, tags...)
	return s.save()
}

// SetLogLevel notes the log level for the next start.
func (s *Store) SetLogLevel(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.LogLevel = n
	return s.save()
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteMkdir(path, append(text, '\n'), 0o600, 0o700)
}
