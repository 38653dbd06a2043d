// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package status keeps the one status file of the bootstrap agent: what each
// stage did on this instance, for people and for other programs.
package status

import (
	"errors"
	"io"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
)

// Result is the outcome of a stage.
type Result string

// The results of a stage. Running is written at the start, so that a killed
// stage can be told from one that never ran.
const (
	Running Result = "running"
	OK      Result = "ok"
	Dormant Result = "dormant"
	Skipped Result = "skipped"
	Failed  Result = "failed"
)

// Stage is the last run of one stage on this instance.
type Stage struct {
	Name     string    `json:"name"`
	Result   Result    `json:"result"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	Detail   string    `json:"detail,omitempty"`
	Changed  []string  `json:"changed,omitempty"`
	Runs     int       `json:"runs"`
}

// Status is the whole file.
type Status struct {
	Version    string        `json:"version,omitempty"` // of the bootstrap agent
	InstanceID string        `json:"instance_id,omitempty"`
	BootID     string        `json:"boot_id,omitempty"`
	Updated    time.Time     `json:"updated,omitzero"`
	Facts      *detect.Facts `json:"facts,omitempty"`
	Stages     []Stage       `json:"stages"`
}

// Path is the file's path below root.
func Path(root string) string { return root + "/var/lib/rightscale/status.json" }

// Load reads the file; a missing one is an empty Status.
func Load(root string) (Status, error) { return Status{}, errors.New("not built yet") }

// Update changes the file under a lock: load, fn, atomic write. When fn returns
// an error nothing is written.
func Update(root string, fn func(*Status) error) error { return errors.New("not built yet") }

// SetInstance keys the status by the instance id: stages of another instance
// are forgotten. The first id after none keeps them.
func (s *Status) SetInstance(id string) {}

// Begin notes that a stage starts now.
func (s *Status) Begin(name string) {}

// End notes the outcome of a stage that Begin started.
func (s *Status) End(name string, result Result, detail string, changed []string) {}

// Stage returns the last run of a stage.
func (s *Status) Stage(name string) (Stage, bool) { return Stage{}, false }

// Render prints the status for people.
func (s *Status) Render(w io.Writer) error { return errors.New("not built yet") }
