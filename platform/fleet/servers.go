// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/attest"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// ServerSpec is what an operator says about a new server.
type ServerSpec struct {
	Name        string
	Description string
	// Template is the name of a HEAD; TemplateID names any revision instead.
	Template   string
	TemplateID int64
	// DeploymentID is 0 for the default one.
	DeploymentID int64
	ArrayID      int64 // 0 for none
	// Launch says where and how to launch it; the zero value leaves that open.
	Launch store.Launch
	Inputs map[string]rightscript.Value
	// AnyInput takes values too that no script asks for, as API 1.5 does.
	AnyInput bool
	// Disabled are scripts of the ServerTemplate that it does not run.
	Disabled         []store.Binding
	By               string // who makes it
	RightLinkVersion string
	UserData         string // the user's own part
	// Enrolment is wire.EnrolAttested, also when empty, or wire.EnrolLegacy.
	Enrolment string
	// Allow narrows what the platform allows for all servers.
	Allow attest.Rules
	// Expect names the instance that was launched; more than one is an allow-list.
	Expect []string
}

var serverName = regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,255}$`)

// CreateServer stores a server and issues its first token.
func (s *Service) CreateServer(ctx context.Context, account int64, spec ServerSpec) (store.Server, error) {
	if !serverName.MatchString(spec.Name) || strings.TrimSpace(spec.Name) != spec.Name {
		return store.Server{}, invalid("server name %q: want 1 to 255 printable characters without space at the ends", spec.Name)
	}
	if spec.Enrolment == "" {
		spec.Enrolment = wire.EnrolAttested
	}
	if err := errors.Join(checkEnrolment(spec.Enrolment), checkExpected(spec.Expect)); err != nil {
		return store.Server{}, err
	}
	allow, err := json.Marshal(spec.Allow)
	if err != nil {
		return store.Server{}, err
	}
	var created store.Server
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		if _, err := q.ServerByName(ctx, account, spec.Name); !errors.Is(err, store.ErrNotFound) {
			if err != nil {
				return err
			}
			return invalid("server %q exists already; choose another name, or use \"server relaunch\" for a new token", spec.Name)
		}
		row, tmpl, err := s.newServer(ctx, q, account, spec)
		if err != nil {
			return err
		}
		row.Allow = allow
		id, err := q.CreateServer(ctx, row, spec.Inputs, s.Now())
		if err != nil {
			return err
		}
		if created, err = q.Server(ctx, id); err != nil {
			return err
		}
		for _, b := range spec.Disabled {
			if err := q.SetScriptDisabled(ctx, id, b, true); err != nil {
				return err
			}
		}
		detail := fmt.Sprintf("name: %s\nServerTemplate: %s\n", created.Name, tmpl.Name)
		if err := s.noteBy(ctx, q, spec.By, created, 0, "server created", detail); err != nil {
			return err
		}
		if err := s.issueToken(ctx, q, spec.By, created); err != nil || len(spec.Expect) == 0 {
			return err
		}
		return s.expect(ctx, q, spec.By, created, store.Expected{Instances: spec.Expect})
	})
	return created, err
}

// newServer checks what a spec names.
func (s *Service) newServer(ctx context.Context, q *store.Queries, account int64, spec ServerSpec) (row store.Server, tmpl store.ServerTemplate, err error) {
	if spec.TemplateID != 0 {
		tmpl, err = templateOf(ctx, q, account, spec.TemplateID)
	} else {
		tmpl, err = q.ServerTemplateByName(ctx, account, spec.Template)
	}
	if err != nil {
		return row, tmpl, err
	}
	if spec.AnyInput {
		_, err = merged(nil, spec.Inputs)
	} else {
		err = checkServerInputs(ctx, q, tmpl, spec.Inputs)
	}
	if err != nil {
		return row, tmpl, err
	}
	if spec.DeploymentID == 0 {
		// A deployment of that name is there from the start; it may be gone.
		if d, err := q.DeploymentByName(ctx, account, DefaultDeployment); err == nil {
			spec.DeploymentID = d.ID
		} else if !errors.Is(err, store.ErrNotFound) {
			return row, tmpl, err
		}
	}
	if spec.Launch.CloudID == 0 {
		spec.Launch.CloudID = store.DefaultCloud
	}
	row = store.Server{
		AccountID: account, Name: spec.Name, Description: spec.Description, TemplateID: tmpl.ID, DeploymentID: spec.DeploymentID, ArrayID: spec.ArrayID, Launch: spec.Launch,
		RightLinkVersion: spec.RightLinkVersion, UserData: spec.UserData, State: wire.StateInactive, Enrolment: spec.Enrolment,
	}
	return row, tmpl, checkLaunch(ctx, q, row)
}

// DefaultDeployment is the name of the deployment that servers are in which
// nobody has put elsewhere.
const DefaultDeployment = "Default"

// checkServerInputs refuses values for inputs that no script has, and values
// that an input does not take.
func checkServerInputs(ctx context.Context, q *store.Queries, tmpl store.ServerTemplate, values map[string]rightscript.Value) error {
	scripts, err := q.BoundScripts(ctx, tmpl.ID, "")
	if err != nil {
		return err
	}
	var lists [][]rightscript.Input
	for _, s := range scripts {
		lists = append(lists, s.Inputs)
	}
	known := servertemplate.InputNames(lists...)
	var problems []string
	for _, name := range sortedKeys(values) {
		if !slices.Contains(known, name) {
			problems = append(problems, fmt.Sprintf("input %q: no script of ServerTemplate %q has it; its inputs: %s", name, tmpl.Name, strings.Join(known, ", ")))
			continue
		}
		for _, in := range slices.Concat(lists...) {
			if in.Name != name {
				continue
			}
			if err := in.Check(values[name]); err != nil {
				problems = append(problems, fmt.Sprintf("input %q: %v", name, err))
				break
			}
		}
	}
	if len(problems) > 0 {
		return invalid("%s", strings.Join(problems, "\n"))
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// RelaunchServer gives the server a new token and a new instance to come. The
// old token, and the instance that held it, are shut out. enrolment is how the
// new instance enrols; empty for as before.
func (s *Service) RelaunchServer(ctx context.Context, by By, name, enrolment string) (store.Server, error) {
	var server store.Server
	if err := checkEnrolment(enrolment); enrolment != "" && err != nil {
		return server, err
	}
	err := s.DB.InTx(ctx, func(q *store.Queries) (err error) {
		if server, err = q.ServerByName(ctx, by.Account, name); err != nil {
			return err
		}
		if enrolment != "" && enrolment != server.Enrolment {
			if err := s.setEnrolment(ctx, q, by, server, enrolment); err != nil {
				return err
			}
			server.Enrolment = enrolment
		}
		_, inst, err := s.current(ctx, q, server)
		if err == nil {
			err = notLaunchedHere(server, inst)
		}
		if err != nil {
			return err
		}
		if err := s.retire(ctx, q, server, "replaced by a relaunch"); err != nil {
			return err
		}
		return s.issueToken(ctx, q, by.Who, server)
	})
	return server, err
}

// DeleteServer removes a server whose instance does not live. Its audit trail
// stays.
func (s *Service) DeleteServer(ctx context.Context, by By, name string, force bool) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		_, inst, server, err := s.named(ctx, q, by.Account, name)
		if err != nil {
			return err
		}
		if err := notLaunchedHere(server, inst); err != nil {
			return err
		}
		if alive(inst) && !force {
			return refused("server %q has a living instance %s (%s); terminate it first, or use --force", name, inst.ResourceUID, inst.State)
		}
		if err := s.retire(ctx, q, server, "server deleted"); err != nil {
			return err
		}
		if err := s.noteBy(ctx, q, by.Who, server, 0, "server deleted", "name: "+server.Name+"\n"); err != nil {
			return err
		}
		return q.DeleteServer(ctx, server.ID)
	})
}

// notLaunchedHere keeps a machine from running on with nobody to end it.
func notLaunchedHere(server store.Server, inst store.Instance) error {
	if inst.ClientToken != "" && Living(inst) {
		return refused("server %q has %s (%s), which this platform launched; terminate it first", server.Name, NameOf(inst), inst.State)
	}
	return nil
}

// retire ends the current instance in our books and all tokens of the server.
func (s *Service) retire(ctx context.Context, q *store.Queries, server store.Server, why string) error {
	_, inst, err := s.current(ctx, q, server)
	if err != nil {
		return err
	}
	if Living(inst) {
		if err := s.moveState(ctx, q, inst, wire.StateTerminated, why); err != nil {
			return err
		}
	}
	if err := q.RevokeTokens(ctx, server.ID, s.Now()); err != nil {
		return err
	}
	return q.SetServerState(ctx, server.ID, wire.StateInactive, s.Now())
}

// current returns the newest token of a server and its instance.
func (s *Service) current(ctx context.Context, q *store.Queries, server store.Server) (store.EnrolmentToken, store.Instance, error) {
	token, err := q.LatestToken(ctx, server.ID)
	if err != nil {
		return token, store.Instance{}, err
	}
	inst, err := q.Instance(ctx, token.InstanceID)
	return token, inst, err
}

// named is current by the name of the server.
func (s *Service) named(ctx context.Context, q *store.Queries, account int64, name string) (token store.EnrolmentToken, inst store.Instance, server store.Server, err error) {
	if server, err = q.ServerByName(ctx, account, name); err == nil {
		token, inst, err = s.current(ctx, q, server)
	}
	return token, inst, server, err
}

// alive tells whether an instance has declared itself and not ended.
func alive(i store.Instance) bool { return !i.DeclaredAt.IsZero() && i.EndedAt.IsZero() }
