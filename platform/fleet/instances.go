// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// serverOf finds a server of an account.
func serverOf(ctx context.Context, q *store.Queries, account, id int64) (store.Server, error) {
	server, err := q.Server(ctx, id)
	if err == nil && server.AccountID != account {
		return store.Server{}, fmt.Errorf("server %d: %w", id, store.ErrNotFound)
	}
	return server, err
}

// ServerByID finds a server of an account.
func (s *Service) ServerByID(ctx context.Context, account, id int64) (store.Server, error) {
	return serverOf(ctx, &s.DB.Queries, account, id)
}

// ServerPatch changes a server; nil fields stay.
type ServerPatch struct {
	Name         *string
	Description  *string
	TemplateID   *int64
	DeploymentID *int64
	UserData     *string
	Locked       *bool
	Launch       LaunchPatch
}

// LaunchPatch changes a launch configuration; nil fields stay.
type LaunchPatch struct {
	CloudID           *int64
	ImageUID          *string
	MCIID             *int64
	InstanceType      *string
	SubnetUID         *string
	SecurityGroupUIDs *[]string
	SSHKeyUID         *string
}

func (p LaunchPatch) apply(l *store.Launch) {
	set(&l.CloudID, p.CloudID)
	set(&l.ImageUID, p.ImageUID)
	set(&l.MCIID, p.MCIID)
	set(&l.InstanceType, p.InstanceType)
	set(&l.SubnetUID, p.SubnetUID)
	set(&l.SecurityGroupUIDs, p.SecurityGroupUIDs)
	set(&l.SSHKeyUID, p.SSHKeyUID)
}

// checkLaunch looks that all that a server names is in its account.
func checkLaunch(ctx context.Context, q *store.Queries, server store.Server) error {
	if err := ownsCloud(ctx, q, server.AccountID, server.CloudID); err != nil {
		return err
	}
	if server.MCIID != 0 {
		if _, err := q.MultiCloudImage(ctx, server.AccountID, server.MCIID); err != nil {
			return err
		}
	}
	if server.DeploymentID != 0 {
		if _, err := q.Deployment(ctx, server.AccountID, server.DeploymentID); err != nil {
			return err
		}
	}
	_, err := templateOf(ctx, q, server.AccountID, server.TemplateID)
	return err
}

// UpdateServer changes a server. What the launch takes from it counts from the
// next launch on, and what the boot scripts take from the next boot on.
func (s *Service) UpdateServer(ctx context.Context, by By, id int64, p ServerPatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := serverOf(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		old := server.Name
		set(&server.Name, p.Name)
		set(&server.Description, p.Description)
		set(&server.TemplateID, p.TemplateID)
		set(&server.DeploymentID, p.DeploymentID)
		set(&server.UserData, p.UserData)
		set(&server.Locked, p.Locked)
		p.Launch.apply(&server.Launch)
		if err := checkName("server", server.Name); err != nil {
			return err
		}
		if err := checkDescription("server", server.Description); err != nil {
			return err
		}
		if server.Name != old {
			_, err := q.ServerByName(ctx, by.Account, server.Name)
			if err := unique("server", server.Name, err); err != nil {
				return err
			}
		}
		if err := checkLaunch(ctx, q, server); err != nil {
			return err
		}
		if err := q.UpdateServer(ctx, server, s.Now()); err != nil {
			return err
		}
		return s.noteBy(ctx, q, by.Who, server, 0, "server "+server.Name+" changed", "")
	})
}

// CloneServer makes a server like another one, with its inputs.
func (s *Service) CloneServer(ctx context.Context, by By, id int64, name string) (store.Server, error) {
	from, err := s.ServerByID(ctx, by.Account, id)
	if err != nil {
		return from, err
	}
	inputs, err := s.DB.ServerInputs(ctx, id)
	if err != nil {
		return from, err
	}
	disabled, err := s.DB.DisabledScripts(ctx, id)
	if err != nil {
		return from, err
	}
	if name == "" {
		name = copyName(from.Name, func(name string) bool {
			_, err := s.DB.ServerByName(ctx, by.Account, name)
			return err == nil
		})
	}
	return s.CreateServer(ctx, by.Account, ServerSpec{
		Name: name, Description: from.Description, TemplateID: from.TemplateID, DeploymentID: from.DeploymentID, Inputs: inputs, AnyInput: true,
		RightLinkVersion: from.RightLinkVersion, UserData: from.UserData, Enrolment: from.Enrolment, Launch: from.Launch, By: by.Who, Disabled: disabled,
	})
}

// DeleteServerByID is DeleteServer for a door that has ids.
func (s *Service) DeleteServerByID(ctx context.Context, by By, id int64) error {
	server, err := s.ServerByID(ctx, by.Account, id)
	if err != nil {
		return err
	}
	if server.Locked {
		return refused("server %q is locked; unlock it first", server.Name)
	}
	return s.DeleteServer(ctx, by, server.Name, false)
}

// CurrentInstance is the living instance of a server, if there is one.
func (s *Service) CurrentInstance(ctx context.Context, server store.Server) (store.Instance, bool, error) {
	_, inst, err := s.current(ctx, &s.DB.Queries, server)
	return inst, err == nil && Living(inst), err
}

// InstanceByUID finds an instance of an account by the id of its href.
func (s *Service) InstanceByUID(ctx context.Context, account, cloudID int64, uid string) (store.Instance, error) {
	inst, err := s.DB.InstanceByUID(ctx, account, uid)
	if err == nil && inst.CloudID != cloudID {
		return store.Instance{}, fmt.Errorf("instance %s: %w", clip(uid, 40), store.ErrNotFound)
	}
	return inst, err
}

// RunOn queues a script of the account for a living instance of a server, and
// returns the audit entry that the agent will write to.
func (s *Service) RunOn(ctx context.Context, by By, instanceID int64, req RunRequest) (auditID int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		token, inst, server, err := agentOf(ctx, q, by.Account, instanceID)
		if err != nil {
			return err
		}
		order := req
		order.By = by.Who
		if order.ScriptID == 0 {
			if order.ScriptID, err = q.RightScriptID(ctx, by.Account, req.Script); err != nil {
				return err
			}
		}
		auditID, err = s.queueScript(ctx, q, Session{Token: token}, inst, server, order)
		return err
	})
	return auditID, err
}

// agentOf finds the agent of an instance, if there is one that works.
func agentOf(ctx context.Context, q *store.Queries, account, instanceID int64) (token store.EnrolmentToken, inst store.Instance, server store.Server, err error) {
	if inst, err = q.Instance(ctx, instanceID); err != nil {
		return token, inst, server, err
	}
	if inst.ServerID == 0 {
		return token, inst, server, refused("instance %s belongs to no server, and no agent of it has enrolled", NameOf(inst))
	}
	if server, err = serverOf(ctx, q, account, inst.ServerID); err != nil {
		return token, inst, server, err
	}
	if token, err = q.LatestToken(ctx, server.ID); err != nil {
		return token, inst, server, err
	}
	if token.InstanceID != inst.ID || !alive(inst) || inst.State == wire.StateDecommissioned {
		err = refused("instance %s is not running (its state is %s)", NameOf(inst), inst.State)
	}
	return token, inst, server, err
}

// ShutdownInstance asks the agent of an instance to decommission it and go down.
func (s *Service) ShutdownInstance(ctx context.Context, by By, instanceID int64, kind string) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		_, inst, server, err := agentOf(ctx, q, by.Account, instanceID)
		if err != nil {
			return err
		}
		return s.queueShutdown(ctx, q, inst, server, kind, by.Who)
	})
}

// LockInstance keeps an instance from being terminated and from running scripts,
// or lets it again.
func (s *Service) LockInstance(ctx context.Context, by By, instanceID int64, locked bool) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		inst, err := q.Instance(ctx, instanceID)
		if err == nil && inst.AccountID != by.Account {
			err = fmt.Errorf("instance %d: %w", instanceID, store.ErrNotFound)
		}
		if err != nil {
			return err
		}
		if err := q.SetInstanceLocked(ctx, instanceID, locked); err != nil {
			return err
		}
		return s.Remark(ctx, q, inst, Remark{Summary: NameOf(inst) + map[bool]string{true: " locked", false: " unlocked"}[locked], By: by.Who})
	})
}

// given adds to a script's inputs those values that somebody gives it although
// it does not declare them.
func given(declared []rightscript.Input, values map[string]rightscript.Value) []rightscript.Input {
	all := slices.Clone(declared)
	for _, name := range sortedKeys(values) {
		if !slices.ContainsFunc(declared, func(in rightscript.Input) bool { return in.Name == name }) && rightscript.CheckInputName(name) == nil {
			all = append(all, rightscript.Input{Name: name, Type: rightscript.TypeSingle})
		}
	}
	return all
}

// Over writes the patch over a launch configuration.
func (p LaunchPatch) Over(l store.Launch) store.Launch {
	p.apply(&l)
	return l
}
