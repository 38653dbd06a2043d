// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package status keeps the one status file of the bootstrap agent: what each
// stage did on this instance, for people and for other programs.
package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/dirlock"
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
func Path(root string) string { return filepath.Join(root, "var/lib/rightscale/status.json") }

// ErrCorrupt means that the file is no status file. Update starts a new one.
var ErrCorrupt = errors.New("not a status file")

// maxFile bounds what Load reads.
const maxFile = 1 << 20

// Load reads the file; a missing one is an empty Status.
func Load(root string) (Status, error) {
	var s Status
	f, err := os.Open(Path(root))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return s, fmt.Errorf("status: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("status: %s: %w: %w", Path(root), ErrCorrupt, err)
	}
	return s, nil
}

// Update changes the file under a lock: load, fn, atomic write. When fn returns
// an error nothing is written. A corrupt file is replaced. The lock is on the
// directory, so that no lock file stays behind.
func Update(root string, fn func(*Status) error) error {
	return change(root, fn, atomicfile.Write)
}

// UpdateLazily is Update for what a power cut may take back, such as that a
// stage has begun: it costs no sync of the disk.
func UpdateLazily(root string, fn func(*Status) error) error {
	return change(root, fn, atomicfile.WriteLazily)
}

func change(root string, fn func(*Status) error, write func(string, []byte, fs.FileMode) error) error {
	dir := filepath.Dir(Path(root))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	unlock, err := dirlock.Lock(dir)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	defer unlock()
	s, err := Load(root)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if err := fn(&s); err != nil {
		return err
	}
	s.Updated = now()
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return write(Path(root), append(data, '\n'), 0o600)
}

// now has no fraction: the times are for people.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// SetInstance keys the status by the instance id: stages of another instance
// are forgotten. The first id after none keeps them, since early stages run
// before the id is known.
func (s *Status) SetInstance(id string) {
	if s.InstanceID != "" && s.InstanceID != id {
		*s = Status{Version: s.Version, BootID: s.BootID, Facts: s.Facts}
	}
	s.InstanceID = id
}

// Begin notes that a stage starts now. What its last run did stays until End.
func (s *Status) Begin(name string) {
	st := s.entry(name)
	st.Result, st.Started, st.Finished = Running, now(), time.Time{}
	st.Runs++
}

// End notes the outcome of a stage that Begin started; without a Begin it is
// taken as started now.
func (s *Status) End(name string, result Result, detail string, changed []string) {
	st := s.entry(name)
	if st.Started.IsZero() {
		st.Started = now()
		st.Runs++
	}
	st.Result, st.Finished, st.Detail, st.Changed = result, now(), detail, changed
}

func (s *Status) entry(name string) *Stage {
	for i := range s.Stages {
		if s.Stages[i].Name == name {
			return &s.Stages[i]
		}
	}
	s.Stages = append(s.Stages, Stage{Name: name})
	return &s.Stages[len(s.Stages)-1]
}

// Stage returns the last run of a stage.
func (s *Status) Stage(name string) (Stage, bool) {
	for _, st := range s.Stages {
		if st.Name == name {
			return st, true
		}
	}
	return Stage{}, false
}
