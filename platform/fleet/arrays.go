// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// MaxArray bounds the servers of one array.
const MaxArray = 500

// arraySpec is how each server of an array is made, as it is stored.
type arraySpec struct {
	TemplateID int64                        `json:"server_template_id"`
	Launch     store.Launch                 `json:"launch"`
	UserData   string                       `json:"user_data,omitempty"`
	Inputs     map[string]rightscript.Value `json:"inputs,omitempty"`
}

// ArrayPatch changes an array; nil fields stay.
type ArrayPatch struct {
	Name         *string
	Description  *string
	DeploymentID *int64
	Enabled      *bool
	Size         *int
}

func (p ArrayPatch) apply(a *store.ServerArray) error {
	set(&a.Name, p.Name)
	set(&a.Description, p.Description)
	set(&a.DeploymentID, p.DeploymentID)
	set(&a.Enabled, p.Enabled)
	set(&a.Size, p.Size)
	if a.Size < 0 || a.Size > MaxArray {
		return invalid("array %q: want 0 to %d servers, got %d", clip(a.Name, 80), MaxArray, a.Size)
	}
	return errors.Join(checkName("server array", a.Name), checkDescription("server array", a.Description))
}

// ServerArrayHref is the href of an array.
func ServerArrayHref(id int64) string { return fmt.Sprintf("/api/server_arrays/%d", id) }

// CreateArray makes an array; its servers come with GrowArray. The spec says how
// they are made.
func (s *Service) CreateArray(ctx context.Context, by By, p ArrayPatch, spec ServerSpec) (id int64, err error) {
	a := store.ServerArray{AccountID: by.Account, DeploymentID: spec.DeploymentID, Size: 1}
	if err := p.apply(&a); err != nil {
		return 0, err
	}
	if a.Spec, err = json.Marshal(arraySpec{spec.TemplateID, spec.Launch, spec.UserData, spec.Inputs}); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.ServerArrayByName(ctx, by.Account, a.Name)
		if err := unique("server array", a.Name, err); err != nil {
			return err
		}
		row := a
		checked, _, err := s.newServer(ctx, q, by.Account, spec)
		if err != nil {
			return err
		}
		row.DeploymentID = checked.DeploymentID
		if id, err = q.CreateServerArray(ctx, row, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerArrayHref(id), "server array "+a.Name+" created")
	})
	return id, err
}

// UpdateArray changes an array. Its servers change with GrowArray only.
func (s *Service) UpdateArray(ctx context.Context, by By, id int64, p ArrayPatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		a, err := q.ServerArray(ctx, by.Account, id)
		if err != nil {
			return err
		}
		old := a.Name
		if err := p.apply(&a); err != nil {
			return err
		}
		if a.Name != old {
			_, err := q.ServerArrayByName(ctx, by.Account, a.Name)
			if err := unique("server array", a.Name, err); err != nil {
				return err
			}
		}
		if a.DeploymentID != 0 {
			if _, err := q.Deployment(ctx, by.Account, a.DeploymentID); err != nil {
				return err
			}
		}
		if err := q.UpdateServerArray(ctx, a, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerArrayHref(id), "server array "+a.Name+" changed")
	})
}

// GrowArray makes the servers that an array lacks and returns all of them. It
// removes none: whoever makes an array smaller terminates what is too much.
func (s *Service) GrowArray(ctx context.Context, by By, id int64) ([]store.Server, error) {
	a, err := s.DB.ServerArray(ctx, by.Account, id)
	if err != nil {
		return nil, err
	}
	var spec arraySpec
	if err := json.Unmarshal(a.Spec, &spec); err != nil {
		return nil, err
	}
	servers, err := s.DB.ServersOfArray(ctx, id)
	if err != nil {
		return nil, err
	}
	for n := 1; len(servers) < a.Size; n++ {
		name := fmt.Sprintf("%s #%d", a.Name, n)
		if _, err := s.DB.ServerByName(ctx, by.Account, name); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		server, err := s.CreateServer(ctx, by.Account, ServerSpec{Name: name, TemplateID: spec.TemplateID, DeploymentID: a.DeploymentID, Launch: spec.Launch,
			UserData: spec.UserData, Inputs: spec.Inputs, AnyInput: true, ArrayID: id, By: by.Who})
		if err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// DeleteArray removes an array with its servers, none of which may live.
func (s *Service) DeleteArray(ctx context.Context, by By, id int64) error {
	a, err := s.DB.ServerArray(ctx, by.Account, id)
	if err != nil {
		return err
	}
	servers, err := s.DB.ServersOfArray(ctx, id)
	if err != nil {
		return err
	}
	for _, server := range servers {
		if _, living, err := s.CurrentInstance(ctx, server); err != nil || living {
			return errors.Join(err, refused("server %q of the array has a living instance; terminate it first", server.Name))
		}
	}
	for _, server := range servers {
		if err := s.DeleteServerByID(ctx, by, server.ID); err != nil {
			return err
		}
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		if err := q.DeleteServerArray(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerArrayHref(id), "server array "+a.Name+" deleted")
	})
}
