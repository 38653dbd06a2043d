// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/json"
	"fmt"
)

// ExecutableBundle is a list of scripts to run in order. On the wire it has
// the agents' positional form {"json_class":"RightScale::ExecutableBundle",
// "data":[...]}; RecipeInstantiations in it are refused, as we run RightScripts
// only.
type ExecutableBundle struct {
	Executables []RightScript
	AuditID     int64
	// ReposeServers are the hosts that serve attachments.
	ReposeServers []string
	Policy        RunlistPolicy
}

// RightScript is one script with everything it needs to run.
type RightScript struct {
	Nickname string
	Source   string
	// Parameters are the inputs that are set; an absent name is unset.
	Parameters  map[string]string
	Attachments []Attachment
	Packages    string // separated by white space
	ID          int64
	Ready       bool
	// InputFlags lists, per input, flags; "unready" marks a missing value.
	InputFlags     map[string][]string
	DisplayVersion string
	// Secrets lists the names of Parameters whose values came from a
	// credential and must not appear in an audit entry. Our addition, sent as
	// one more position, which older readers ignore.
	Secrets []string
}

// FlagUnready marks an input whose value the platform does not have yet.
const FlagUnready = "unready"

// Attachment is a file beside a script. Digest is the SHA-256 of the content,
// 64 hex digits (32 hex digits are read as MD5, which older platforms send).
type Attachment struct {
	URL      string
	FileName string
	ETag     string
	Token    string
	Digest   string
}

// RunlistPolicy says on which thread a bundle runs. AuditPeriod is in seconds,
// 0 for the agent's default.
type RunlistPolicy struct {
	PolicyName  string
	ThreadName  string
	AuditPeriod int
}

const (
	classBundle     = "RightScale::ExecutableBundle"
	classScript     = "RightScale::RightScriptInstantiation"
	classAttachment = "RightScale::RightScriptAttachment"
	classPolicy     = "RightScale::RunlistPolicy"
)

// positional is the {"json_class","data"} envelope of every payload object.
type positional struct {
	Class string            `json:"json_class"`
	Data  []json.RawMessage `json:"data"`
}

func encodePositional(class string, values ...any) ([]byte, error) {
	return json.Marshal(struct {
		Class string `json:"json_class"`
		Data  []any  `json:"data"`
	}{class, values})
}

// decodePositional reads up to len(into) values; a nil entry of into skips a
// position, and a shorter list or a JSON null leaves the rest as they are.
func decodePositional(raw []byte, class string, into ...any) error {
	var p positional
	if err := json.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("read %s: %w", class, err)
	}
	if p.Class != class {
		return fmt.Errorf("read %s: got json_class %q", class, p.Class)
	}
	for i, dst := range into {
		if dst == nil || i >= len(p.Data) {
			continue
		}
		if err := json.Unmarshal(p.Data[i], dst); err != nil {
			return fmt.Errorf("read %s position %d: %w", class, i, err)
		}
	}
	return nil
}

// MarshalJSON writes the positional form.
func (b ExecutableBundle) MarshalJSON() ([]byte, error) {
	scripts := b.Executables
	if scripts == nil {
		scripts = []RightScript{}
	}
	servers := b.ReposeServers
	if servers == nil {
		servers = []string{}
	}
	return encodePositional(classBundle, scripts, []any{}, b.AuditID, true, []any{}, servers, nil, b.Policy, nil)
}

// UnmarshalJSON reads the positional form.
func (b *ExecutableBundle) UnmarshalJSON(raw []byte) error {
	return decodePositional(raw, classBundle, &b.Executables, nil, &b.AuditID, nil, nil, &b.ReposeServers, nil, &b.Policy)
}

// MarshalJSON writes the positional form.
func (s RightScript) MarshalJSON() ([]byte, error) {
	params, atts := s.Parameters, s.Attachments
	if params == nil {
		params = map[string]string{}
	}
	if atts == nil {
		atts = []Attachment{}
	}
	return encodePositional(classScript, s.Nickname, s.Source, params, atts, s.Packages, s.ID, s.Ready, nil, s.InputFlags, s.DisplayVersion, s.Secrets)
}

// UnmarshalJSON reads the positional form.
func (s *RightScript) UnmarshalJSON(raw []byte) error {
	return decodePositional(raw, classScript, &s.Nickname, &s.Source, &s.Parameters, &s.Attachments, &s.Packages, &s.ID, &s.Ready, nil, &s.InputFlags, &s.DisplayVersion, &s.Secrets)
}

// MarshalJSON writes the positional form.
func (a Attachment) MarshalJSON() ([]byte, error) {
	return encodePositional(classAttachment, a.URL, a.FileName, a.ETag, a.Token, a.Digest)
}

// UnmarshalJSON reads the positional form.
func (a *Attachment) UnmarshalJSON(raw []byte) error {
	return decodePositional(raw, classAttachment, &a.URL, &a.FileName, &a.ETag, &a.Token, &a.Digest)
}

// MarshalJSON writes the positional form.
func (p RunlistPolicy) MarshalJSON() ([]byte, error) {
	var period any
	if p.AuditPeriod > 0 {
		period = p.AuditPeriod
	}
	return encodePositional(classPolicy, p.PolicyName, p.ThreadName, period)
}

// UnmarshalJSON reads the positional form.
func (p *RunlistPolicy) UnmarshalJSON(raw []byte) error {
	return decodePositional(raw, classPolicy, &p.PolicyName, &p.ThreadName, &p.AuditPeriod)
}
