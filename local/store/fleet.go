// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import "time"

// LaunchTemplate holds parameters of RunInstances under a name.
type LaunchTemplate struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Created  time.Time         `json:"created"`
	Default  int64             `json:"default_version"`
	Versions []TemplateVersion `json:"versions"`
	Tags     map[string]string `json:"tags,omitempty"`
	// ClientToken and RequestHash recognise a repeated CreateLaunchTemplate.
	ClientToken string `json:"client_token,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
}

// TemplateVersion is one version of a template, counted from 1.
type TemplateVersion struct {
	Number      int64     `json:"number"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	// Data are the parameters with the names that RunInstances has for them.
	// User-data may hold a token, so the record is written for its owner only.
	Data map[string]string `json:"data"`
}

// Fleet is a request of CreateFleet of the type instant, and what came of it.
type Fleet struct {
	ID      string            `json:"id"`
	State   string            `json:"state"`
	Created time.Time         `json:"created"`
	Target  int64             `json:"target"`
	Market  string            `json:"market"` // spot or on-demand
	Launch  []FleetLaunch     `json:"launch,omitempty"`
	Errors  []FleetError      `json:"errors,omitempty"`
	Tags    map[string]string `json:"tags,omitempty"`
	// Template and Version are what was launched.
	Template string `json:"template"`
	Version  string `json:"version"`
	// ClientToken and RequestHash recognise a repeated CreateFleet.
	ClientToken string `json:"client_token,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
}

// FleetLaunch are the instances of one type in a fleet.
type FleetLaunch struct {
	InstanceType string   `json:"instance_type"`
	Subnet       string   `json:"subnet,omitempty"`
	InstanceIDs  []string `json:"instance_ids"`
}

// FleetError says why there are no instances of one type in a fleet.
type FleetError struct {
	InstanceType string `json:"instance_type"`
	Subnet       string `json:"subnet,omitempty"`
	Code         string `json:"code"`
	Message      string `json:"message"`
}

func (t LaunchTemplate) key() string     { return t.ID }
func (t LaunchTemplate) made() time.Time { return t.Created }
func (f Fleet) key() string              { return f.ID }
func (f Fleet) made() time.Time          { return f.Created }
