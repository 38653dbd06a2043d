// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// The views are what the admin CLI prints as JSON; their field names are a
// contract with scripts.

// ServerView is a server as the operator sees it.
type ServerView struct {
	ID               int64                        `json:"id"`
	Name             string                       `json:"name"`
	Description      string                       `json:"description"`
	State            string                       `json:"state"`
	ServerTemplate   string                       `json:"server_template"`
	TokenID          int64                        `json:"token_id"`
	RightLinkVersion string                       `json:"rightlink_version,omitempty"`
	Enrolment        string                       `json:"enrolment"` // attested or legacy
	Expected         []string                     `json:"expected_instances,omitempty"`
	Attestation      *AttestationView             `json:"attestation"` // null before an attested enrolment
	Inputs           map[string]rightscript.Value `json:"inputs"`
	Instance         *InstanceView                `json:"instance"` // null before the first launch or enrolment
	Audit            AuditCount                   `json:"audit"`
	CreatedAt        time.Time                    `json:"created_at"`
	UpdatedAt        time.Time                    `json:"updated_at"`
}

// AuditCount tells how many audit entries a server has.
type AuditCount struct {
	Count int `json:"count"`
}

// InstanceView is an instance as the operator sees it.
type InstanceView struct {
	ResourceUID      string            `json:"resource_uid"`
	State            string            `json:"state"`
	Href             string            `json:"href"`
	Server           string            `json:"server"`
	Cloud            string            `json:"cloud"`
	ImageUID         string            `json:"image_uid"`
	PublicIPs        []string          `json:"public_ip_addresses"`
	PrivateIPs       []string          `json:"private_ip_addresses"`
	RightLinkVersion string            `json:"rightlink_version"`
	Raw              bool              `json:"raw"` // no server has it
	Name             string            `json:"name"`
	CloudID          int64             `json:"cloud_id"`
	CloudState       string            `json:"cloud_state,omitempty"` // as the cloud says
	InstanceType     string            `json:"instance_type,omitempty"`
	Datacenter       string            `json:"datacenter,omitempty"`
	LaunchedAt       time.Time         `json:"launched_at,omitzero"`
	CreatedAt        time.Time         `json:"created_at"`
	EnrolledAt       time.Time         `json:"enrolled_at,omitzero"`
	UpdatedAt        time.Time         `json:"updated_at"`
	EndedAt          time.Time         `json:"ended_at,omitzero"`
	History          []StateChangeView `json:"history"`
}

// StateChangeView is one change of state.
type StateChangeView struct {
	From string    `json:"from"`
	To   string    `json:"to"`
	Kind string    `json:"kind,omitempty"`
	At   time.Time `json:"at"`
}

// AuditView is an audit entry as the operator sees it.
type AuditView struct {
	ID          int64     `json:"id"`
	At          time.Time `json:"at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Server      string    `json:"server"`
	AuditeeHref string    `json:"auditee_href"`
	Summary     string    `json:"summary"`
	UserEmail   string    `json:"user_email"`
	Notify      string    `json:"notify"`
	DetailSize  int64     `json:"detail_size"`
	Detail      *string   `json:"detail,omitempty"` // only where one entry is shown
}

// Servers lists the servers of an account.
func (s *Service) Servers(ctx context.Context, account int64) ([]ServerView, error) {
	servers, err := s.DB.Servers(ctx, account)
	if err != nil {
		return nil, err
	}
	list := make([]ServerView, 0, len(servers))
	for _, server := range servers {
		v, err := s.serverView(ctx, server)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// ServerByName shows one server.
func (s *Service) ServerByName(ctx context.Context, account int64, name string) (ServerView, error) {
	server, err := s.DB.ServerByName(ctx, account, name)
	if err != nil {
		return ServerView{}, err
	}
	return s.serverView(ctx, server)
}

func (s *Service) serverView(ctx context.Context, server store.Server) (ServerView, error) {
	v := ServerView{ID: server.ID, Name: server.Name, Description: server.Description, State: server.State,
		RightLinkVersion: server.RightLinkVersion, Enrolment: server.Enrolment, CreatedAt: server.CreatedAt, UpdatedAt: server.UpdatedAt}
	tmpl, err := s.DB.ServerTemplate(ctx, server.TemplateID)
	if err != nil {
		return v, err
	}
	v.ServerTemplate = tmpl.Name
	token, inst, err := s.current(ctx, &s.DB.Queries, server)
	if err != nil {
		return v, err
	}
	v.TokenID = token.ID
	if v.Expected, v.Attestation, err = s.attestationView(ctx, token.ID); err != nil {
		return v, err
	}
	if !inst.DeclaredAt.IsZero() || Living(inst) {
		iv, err := s.instanceView(ctx, inst, server.Name)
		if err != nil {
			return v, err
		}
		v.Instance = &iv
	}
	if v.Inputs, err = s.DB.ServerInputs(ctx, server.ID); err != nil {
		return v, err
	}
	v.Audit.Count, err = s.DB.CountAuditEntries(ctx, server.ID)
	return v, err
}

// Instances lists the instances that have enrolled, were launched, or were found
// in a cloud, living or not.
func (s *Service) Instances(ctx context.Context, account int64) ([]InstanceView, error) {
	instances, err := s.DB.KnownInstances(ctx, account)
	if err != nil {
		return nil, err
	}
	names, err := s.serverNames(ctx, account)
	if err != nil {
		return nil, err
	}
	list := make([]InstanceView, 0, len(instances))
	for _, inst := range instances {
		v, err := s.instanceView(ctx, inst, names[inst.ServerID])
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (s *Service) instanceView(ctx context.Context, i store.Instance, server string) (InstanceView, error) {
	v := InstanceView{ResourceUID: i.ResourceUID, State: i.State, Href: InstanceHref(i), Server: server, Cloud: i.Cloud, ImageUID: i.ImageUID,
		PublicIPs: i.PublicIPs, PrivateIPs: i.PrivateIPs, RightLinkVersion: i.RightLinkVersion,
		Raw: i.ServerID == 0, Name: i.Name, CloudID: i.CloudID, CloudState: i.CloudState, InstanceType: i.InstanceType, Datacenter: i.Datacenter, LaunchedAt: i.LaunchedAt,
		CreatedAt: i.CreatedAt, EnrolledAt: i.DeclaredAt, UpdatedAt: i.UpdatedAt, EndedAt: i.EndedAt, History: []StateChangeView{}}
	history, err := s.DB.StateHistory(ctx, i.ID)
	for _, c := range history {
		v.History = append(v.History, StateChangeView{From: c.From, To: c.To, Kind: c.Kind, At: c.At})
	}
	return v, err
}

func (s *Service) serverNames(ctx context.Context, account int64) (map[int64]string, error) {
	servers, err := s.DB.Servers(ctx, account)
	names := make(map[int64]string, len(servers))
	for _, server := range servers {
		names[server.ID] = server.Name
	}
	return names, err
}

// AuditEntries lists audit entries after an id, oldest first; an empty server
// name means all servers, and limit 0 all entries.
func (s *Service) AuditEntries(ctx context.Context, account int64, server string, after int64, limit int) ([]AuditView, error) {
	f := store.AuditFilter{AccountID: account, AfterID: after, Limit: limit}
	if server != "" {
		row, err := s.DB.ServerByName(ctx, account, server)
		if err != nil {
			return nil, err
		}
		f.ServerID = row.ID
	}
	names, err := s.serverNames(ctx, account)
	if err != nil {
		return nil, err
	}
	entries, err := s.DB.AuditEntries(ctx, f)
	list := make([]AuditView, 0, len(entries))
	for _, e := range entries {
		list = append(list, auditView(e, names[e.ServerID]))
	}
	return list, err
}

// AuditEntry shows one entry with its detail text.
func (s *Service) AuditEntry(ctx context.Context, account, id int64) (AuditView, error) {
	e, err := s.DB.AuditEntry(ctx, id)
	if err != nil {
		return AuditView{}, err
	}
	if e.AccountID != account {
		return AuditView{}, fmt.Errorf("audit entry %d: %w", id, store.ErrNotFound)
	}
	name := ""
	if e.ServerID != 0 {
		server, err := s.DB.Server(ctx, e.ServerID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return AuditView{}, err
		}
		name = server.Name
	}
	v := auditView(e, name)
	detail, err := s.detail(ctx, id)
	v.Detail = &detail
	return v, err
}

func auditView(e store.AuditEntry, server string) AuditView {
	return AuditView{ID: e.ID, At: e.CreatedAt, UpdatedAt: e.UpdatedAt, Server: server, AuditeeHref: e.AuditeeHref, Summary: e.Summary,
		UserEmail: e.UserEmail, Notify: e.Notify, DetailSize: e.DetailSize}
}
