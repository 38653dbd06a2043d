// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/agent"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/enroll"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/state"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// summary is what status prints.
type summary struct {
	Version           string   `json:"version"`
	Dormant           bool     `json:"dormant"`
	Enrolled          bool     `json:"enrolled"`
	Identity          string   `json:"identity,omitempty"`
	APIURL            string   `json:"api_url,omitempty"`
	Running           bool     `json:"running"`
	PID               int      `json:"pid,omitempty"`
	State             string   `json:"state,omitempty"`
	LastRecordedState string   `json:"last_recorded_state,omitempty"`
	Reboot            bool     `json:"reboot"`
	ResourceUID       string   `json:"resource_uid,omitempty"`
	LastCommunication string   `json:"last_communication,omitempty"`
	PastScripts       []string `json:"past_scripts"`
	Problem           string   `json:"problem,omitempty"`
}

func status(root paths.Root, asJSON bool, stdout, stderr io.Writer) int {
	s := collect(root)
	if asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(s); err != nil {
			return report("status", err, 1, stderr)
		}
		return 0
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"version", s.Version}, {"agent", s.running()}, {"enrolled", s.enrolled()}, {"platform", s.APIURL}, {"identity", s.Identity},
		{"state", s.State}, {"recorded as", s.LastRecordedState}, {"instance", s.ResourceUID},
		{"last contact", s.LastCommunication}, {"scripts done", strings.Join(s.PastScripts, ", ")}, {"problem", s.Problem},
	} {
		if row[1] != "" {
			fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
		}
	}
	if err := table.Flush(); err != nil {
		return report("status", err, 1, stderr)
	}
	return 0
}

func (s summary) running() string {
	if s.Running {
		return fmt.Sprintf("running, process %d", s.PID)
	}
	return "not running"
}

func (s summary) enrolled() string {
	switch {
	case s.Dormant:
		return "no: launched without platform settings (dormant)"
	case s.Enrolled:
		return "yes"
	}
	return "not yet"
}

func collect(root paths.Root) summary {
	s := summary{Version: version.String(), PastScripts: []string{}}
	s.PID, s.Running = agent.Running(root)
	id, err := identity.Load(root.Identity())
	switch {
	case errors.Is(err, identity.ErrAbsent):
		s.Dormant = true
	case err != nil:
		s.Problem = err.Error()
	default:
		s.Identity, s.APIURL = id.AgentID(), id.APIURL()
	}
	if facts, err := enroll.Load(root); err == nil && facts.Identity == s.Identity {
		s.Enrolled, s.APIURL = true, facts.APIURL
	}
	// Read directly: state.Open would set a damaged file aside.
	var f state.File
	if text, err := os.ReadFile(root.State()); err == nil && json.Unmarshal(text, &f) == nil {
		s.State, s.LastRecordedState, s.Reboot, s.ResourceUID = f.Value, f.LastRecordedValue, f.Rebooted, f.LastObservedResourceUID
		if f.LastCommunication > 0 {
			s.LastCommunication = time.Unix(f.LastCommunication, 0).UTC().Format(time.RFC3339)
		}
	}
	if text, err := os.ReadFile(root.PastScripts()); err == nil {
		_ = json.Unmarshal(text, &s.PastScripts) // a damaged file counts as empty
	}
	return s
}
