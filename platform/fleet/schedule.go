// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// EventTime is how long a request waits for its agent, as in the original: a
// machine that comes back after a day should not run what is forgotten.
const EventTime = 24 * time.Hour

// RunRequest asks an instance to run one script.
type RunRequest struct {
	Script   string // name; or
	ScriptID int64
	// Inputs go before those of the server.
	Inputs map[string]rightscript.Value
	// Thread is the run queue on the instance; empty for the default one.
	Thread string
	// AnyInput gives the script also inputs that it does not declare, as API 1.5
	// does.
	AnyInput bool
	// By says in the audit entry who asked.
	By string
}

// order is the detail of a stored event. Inputs are kept as they were given, so
// that no credential lies in the database.
type order struct {
	ScriptID int64                        `json:"script_id,omitempty"`
	Script   string                       `json:"script,omitempty"`
	Inputs   map[string]rightscript.Value `json:"inputs,omitempty"`
	Thread   string                       `json:"thread,omitempty"`
	AuditID  int64                        `json:"audit_id,omitempty"`
	Kind     string                       `json:"kind,omitempty"`
}

// threadName is the original's rule.
var threadName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// RunScript queues a script of the account for a server's living instance, and
// returns the audit entry that the agent will write to.
func (s *Service) RunScript(ctx context.Context, account int64, name string, req RunRequest) (auditID int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		token, inst, server, err := s.reachable(ctx, q, account, name)
		if err != nil {
			return err
		}
		if req.ScriptID == 0 {
			if req.ScriptID, err = q.RightScriptID(ctx, account, req.Script); err != nil {
				return fmt.Errorf("%w; \"rightscaled server-template show\" lists the scripts of a ServerTemplate", err)
			}
		}
		auditID, err = s.queueScript(ctx, q, Session{Token: token}, inst, server, req)
		return err
	})
	return auditID, err
}

// RunOwnScript is RunScript for an agent: it may ask for the operational
// scripts of its own ServerTemplate, on its own instance.
func (s *Service) RunOwnScript(ctx context.Context, sess Session, req RunRequest) (auditID int64, err error) {
	err = s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := declared(ctx, q, sess)
		if err != nil {
			return err
		}
		scripts, err := enabledScripts(ctx, q, server, servertemplate.Operational)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(scripts, func(b store.BoundScript) bool {
			return req.ScriptID != 0 && b.ID == req.ScriptID || req.ScriptID == 0 && b.Name == req.Script
		})
		if i < 0 {
			return invalid("the ServerTemplate has no operational script %q", clip(req.what(), 80))
		}
		req.ScriptID = scripts[i].ID
		auditID, err = s.queueScript(ctx, q, sess, inst, server, req)
		return err
	})
	return auditID, err
}

func (r RunRequest) what() string {
	if r.Script != "" {
		return r.Script
	}
	return fmt.Sprint(r.ScriptID)
}

// reachable finds the living instance of a server.
func (s *Service) reachable(ctx context.Context, q *store.Queries, account int64, name string) (token store.EnrolmentToken, inst store.Instance, server store.Server, err error) {
	token, inst, server, err = s.named(ctx, q, account, name)
	if err == nil && (!alive(inst) || inst.State == wire.StateDecommissioned) {
		err = refused("server %q has no running instance (its state is %s)", name, server.State)
	}
	return token, inst, server, err
}

func (s *Service) queueScript(ctx context.Context, q *store.Queries, sess Session, inst store.Instance, server store.Server, req RunRequest) (int64, error) {
	if req.Thread != "" && !threadName.MatchString(req.Thread) {
		return 0, invalid("thread %q: want a lower-case letter, then lower-case letters, digits and _", clip(req.Thread, 40))
	}
	script, err := q.Script(ctx, server.AccountID, req.ScriptID)
	if err != nil {
		return 0, err
	}
	if req.AnyInput {
		script.Inputs = given(script.Inputs, req.Inputs)
	}
	for _, name := range slices.Sorted(maps.Keys(req.Inputs)) {
		if !slices.ContainsFunc(script.Inputs, func(in rightscript.Input) bool { return in.Name == name }) {
			return 0, invalid("script %q has no input %s", script.Name, clip(name, 80))
		}
	}
	// Better now than on the instance: is every required value known?
	list, err := s.instantiate(ctx, q, sess, "", inst, server, []store.BoundScript{{RightScript: script}}, req.Inputs)
	if err != nil {
		return 0, err
	}
	if missing := slices.Sorted(maps.Keys(list[0].InputFlags)); len(missing) > 0 {
		return 0, invalid("script %q needs values for: %s", script.Name, strings.Join(missing, ", "))
	}
	entry := store.AuditEntry{AccountID: server.AccountID, ServerID: server.ID, InstanceID: inst.ID, AuditeeHref: InstanceHref(inst),
		Summary: cutSummary("Queued: " + script.Name), UserEmail: clip(printable(req.By), 255), Notify: "None"}
	id, err := q.CreateAuditEntry(ctx, entry, s.Now())
	if err != nil {
		return 0, err
	}
	return id, s.addEvent(ctx, q, inst, wire.ActorScheduleBundle, order{ScriptID: script.ID, Script: script.Name, Inputs: req.Inputs, Thread: req.Thread, AuditID: id})
}

func (s *Service) addEvent(ctx context.Context, q *store.Queries, inst store.Instance, path string, o order) error {
	detail, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = q.AddEvent(ctx, store.Event{UUID: uuid.NewString(), InstanceID: inst.ID, Path: path, Detail: detail, ExpiresAt: s.Now().Add(EventTime)}, s.Now())
	return err
}

// Shutdown asks a server's instance to decommission itself and go down.
func (s *Service) Shutdown(ctx context.Context, by By, name, kind string) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		_, inst, server, err := s.reachable(ctx, q, by.Account, name)
		if err != nil {
			return err
		}
		return s.queueShutdown(ctx, q, inst, server, kind, by.Who)
	})
}

// ShutdownSelf is Shutdown for an agent.
func (s *Service) ShutdownSelf(ctx context.Context, sess Session, kind string) error {
	return s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := declared(ctx, q, sess)
		if err != nil {
			return err
		}
		return s.queueShutdown(ctx, q, inst, server, kind, "")
	})
}

func (s *Service) queueShutdown(ctx context.Context, q *store.Queries, inst store.Instance, server store.Server, kind, who string) error {
	if !slices.Contains([]string{wire.KindReboot, wire.KindStop, wire.KindTerminate}, kind) {
		return invalid("kind %q: want reboot, stop or terminate", clip(kind, 40))
	}
	by := who
	if by == "" {
		by = "the instance"
	}
	if err := s.noteBy(ctx, q, who, server, inst.ID, fmt.Sprintf("%s: %s requested by %s", inst.ResourceUID, kind, by), ""); err != nil {
		return err
	}
	return s.addEvent(ctx, q, inst, wire.ActorScheduleDecommission, order{Kind: kind})
}

// Events are what waits for the agent of a session, with all values resolved.
func (s *Service) Events(ctx context.Context, sess Session, host string) ([]wire.Event, error) {
	rows, err := s.DB.Events(ctx, sess.Token.InstanceID, s.Now())
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	inst, server, err := declared(ctx, &s.DB.Queries, sess)
	var early *RefusedError
	if errors.As(err, &early) {
		return nil, nil // its events wait until it has declared itself
	}
	if err != nil {
		return nil, err
	}
	list := make([]wire.Event, 0, len(rows))
	for _, row := range rows {
		e := wire.Event{UUID: row.UUID, Type: wire.EventPush, Path: row.Path, From: "rightscaled", ExpiresAt: row.ExpiresAt.Unix(), Tries: []string{}}
		if e.Data, err = s.eventData(ctx, sess, host, inst, server, row); err != nil {
			return nil, fmt.Errorf("event %s: %w", row.UUID, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func (s *Service) eventData(ctx context.Context, sess Session, host string, inst store.Instance, server store.Server, row store.Event) (json.RawMessage, error) {
	var o order
	if err := json.Unmarshal(row.Detail, &o); err != nil {
		return nil, err
	}
	switch row.Path {
	case wire.ActorScheduleBundle:
		script, err := s.DB.Script(ctx, server.AccountID, o.ScriptID)
		if err != nil {
			return nil, err
		}
		script.Inputs = given(script.Inputs, o.Inputs)
		list, err := s.instantiate(ctx, &s.DB.Queries, sess, host, inst, server, []store.BoundScript{{RightScript: script}}, o.Inputs)
		if err != nil {
			return nil, err
		}
		thread := o.Thread
		if thread == "" {
			thread = "default"
		}
		return json.Marshal(wire.ExecutableBundle{Executables: list, AuditID: o.AuditID, ReposeServers: []string{host},
			Policy: wire.RunlistPolicy{PolicyName: "default", ThreadName: thread}})
	case wire.ActorScheduleDecommission:
		return json.Marshal(wire.Decommission{Kind: o.Kind})
	case wire.ActorLoginPolicy:
		policy, err := s.LoginPolicy(ctx, sess)
		if err != nil {
			return nil, err
		}
		return json.Marshal(policy)
	}
	return nil, nil
}

// AckEvent notes that an agent has taken an event.
func (s *Service) AckEvent(ctx context.Context, sess Session, uuid string) error {
	return s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error { return q.DeleteEvent(ctx, sess.Token.InstanceID, uuid) })
}

// ExpireEvents drops what no agent has taken in time, and says so in the audit
// entry that was waiting for it.
func (s *Service) ExpireEvents(ctx context.Context) error {
	old, err := s.DB.ExpiredEvents(ctx, s.Now())
	if err != nil || len(old) == 0 {
		return err
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		for _, row := range old {
			var o order
			if err := json.Unmarshal(row.Detail, &o); err != nil {
				return err
			}
			if e, err := q.AuditEntry(ctx, o.AuditID); err == nil {
				e.Summary = cutSummary("Aborted: " + o.Script)
				if err := s.addDetail(ctx, q, e, e.DetailSize, fmt.Sprintf("*ERROR> The instance did not ask for its work within %s.\n", EventTime)); err != nil {
					return err
				}
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err := q.DeleteEvent(ctx, row.InstanceID, row.UUID); err != nil {
				return err
			}
		}
		return nil
	})
}

// Repositories is what an agent of RightLink 6 asks for before its boot bundle,
// to learn its audit entry.
func (s *Service) Repositories(ctx context.Context, sess Session) (b wire.RepositoriesBundle, err error) {
	err = s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := declared(ctx, q, sess)
		if err != nil {
			return err
		}
		b.AuditID, err = s.bundleEntry(ctx, q, server, inst, servertemplate.Boot)
		return err
	})
	return b, err
}
