// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// The rules of machines that the platform itself launches and ends. Package
// launch makes the calls to the cloud, and none of them in a transaction.

// Remark is an audit entry of the platform's own about an instance.
type Remark struct {
	Summary string
	Detail  string
	By      string // who asked for it; empty when nobody did
	Notify  string // empty for None
}

// Remark writes an audit entry about an instance, which may belong to no server.
func (s *Service) Remark(ctx context.Context, q *store.Queries, inst store.Instance, r Remark) error {
	_, err := s.addEntry(ctx, q, store.AuditEntry{AccountID: inst.AccountID, ServerID: inst.ServerID, InstanceID: inst.ID,
		AuditeeHref: InstanceHref(inst), Summary: cutSummary(r.Summary), UserEmail: clip(printable(r.By), 255), Notify: orNone(r.Notify)}, r.Detail)
	return err
}

// NameOf is how texts call an instance: by the cloud's id, or by ours until
// that is known.
func NameOf(i store.Instance) string {
	if i.ResourceUID != "" {
		return i.ResourceUID
	}
	return "instance " + i.UID
}

// Living tells whether an instance may cost money or hold a server: it was
// launched, found or has enrolled, and has not ended.
func Living(i store.Instance) bool {
	return i.EndedAt.IsZero() && (!i.DeclaredAt.IsZero() || !i.LaunchedAt.IsZero() || i.ResourceUID != "")
}

// Current returns the newest instance of a server, and its token.
func (s *Service) Current(ctx context.Context, q *store.Queries, server store.Server) (store.EnrolmentToken, store.Instance, error) {
	return s.current(ctx, q, server)
}

// Identity is what a new instance of a server needs to enrol.
type Identity struct {
	Instance store.Instance
	TokenID  int64
	Token    secret.String
}

// BeginLaunch makes the identity of an instance that is about to be launched,
// with a fresh token that nobody can use before Launched has named the
// instance. The inputs are for this instance only; who has asked for it.
func (s *Service) BeginLaunch(ctx context.Context, q *store.Queries, who string, server store.Server, inputs map[string]rightscript.Value) (id Identity, err error) {
	_, inst, err := s.current(ctx, q, server)
	if err != nil {
		return id, err
	}
	if Living(inst) {
		return id, refused("server %q has %s, which is %s; terminate it first, or use \"server relaunch\"", server.Name, NameOf(inst), inst.State)
	}
	if _, err := merged(nil, inputs); err != nil {
		return id, err
	}
	if err := q.RevokeTokens(ctx, server.ID, s.Now()); err != nil {
		return id, err
	}
	if !inst.EndedAt.IsZero() { // one that was never used keeps its href
		if inst.ID, err = s.newInstance(ctx, q, server); err != nil {
			return id, err
		}
	}
	if id.TokenID, id.Token, err = s.issueFor(ctx, q, who, server, inst.ID); err != nil {
		return id, err
	}
	if server.Enrolment == wire.EnrolAttested {
		if err := q.SetExpected(ctx, id.TokenID, store.Expected{Nobody: true}); err != nil {
			return id, err
		}
	}
	if err := q.SetInstanceInputs(ctx, inst.ID, inputs); err != nil {
		return id, err
	}
	if err := q.SetServerState(ctx, server.ID, wire.StatePending, s.Now()); err != nil {
		return id, err
	}
	id.Instance, err = q.Instance(ctx, inst.ID)
	return id, err
}

// RawLaunch says what to launch without a server: an instance that nobody's agent
// reports from.
type RawLaunch struct {
	Name string
	store.Launch
	UserData string
}

// BeginRaw makes the row of such an instance.
func (s *Service) BeginRaw(ctx context.Context, q *store.Queries, account int64, r RawLaunch) (store.Instance, error) {
	if err := checkName("instance", r.Name); err != nil {
		return store.Instance{}, err
	}
	id, err := q.CreateInstance(ctx, store.Instance{AccountID: account, CloudID: r.CloudID, UID: NewUID(), State: wire.StatePending}, s.Now())
	if err != nil {
		return store.Instance{}, fmt.Errorf("create instance: %w", err)
	}
	return q.Instance(ctx, id)
}

// ErrTaken says that another machine has used the token of a launched one.
var ErrTaken = errors.New("another machine has enrolled with the token of this launch")

// Launched writes which machine of the cloud an instance is. From here on that
// one, and no other, can enrol with its token. It may have been written before.
func (s *Service) Launched(ctx context.Context, q *store.Queries, instance int64, resourceUID string, cloudID int64, cloudState string) (first bool, err error) {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return false, err
	}
	if inst.ResourceUID != "" && inst.ResourceUID != resourceUID {
		return false, fmt.Errorf("%s is not %s: %w", resourceUID, inst.ResourceUID, ErrTaken)
	}
	if inst.SeenCloudID != 0 && inst.ResourceUID == resourceUID {
		return false, nil
	}
	if err := q.SetResource(ctx, inst.ID, resourceUID, cloudID, cloudState, s.Now()); err != nil {
		return false, err
	}
	if err := s.mergeRaw(ctx, q, inst, resourceUID); err != nil {
		return false, err
	}
	return true, s.expectLaunched(ctx, q, inst, resourceUID)
}

// expectLaunched lets the machine in, unless it is in already.
func (s *Service) expectLaunched(ctx context.Context, q *store.Queries, inst store.Instance, resourceUID string) error {
	if inst.ServerID == 0 {
		return nil
	}
	token, err := q.LatestToken(ctx, inst.ServerID)
	if err != nil || token.InstanceID != inst.ID {
		return err
	}
	if _, err := q.Attestation(ctx, token.ID); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return q.SetExpected(ctx, token.ID, store.Expected{Instances: []string{resourceUID}})
}

// place finds out where an instance is that has just told its id. A raw
// instance with that id has waited for it, and becomes it. Else the region tells
// the cloud, if there is only one there; region is empty for an agent that
// knows its href already, which must not change any more.
func (s *Service) place(ctx context.Context, q *store.Queries, instance int64, resourceUID, region string) error {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return err
	}
	cloudID, err := s.cloudOf(ctx, q, inst, resourceUID, region)
	if err != nil {
		return err
	}
	if region != "" && cloudID != 0 && cloudID != inst.CloudID {
		if err := q.PlaceInstance(ctx, inst.ID, cloudID, s.Now()); err != nil {
			return err
		}
		inst.CloudID = cloudID
	}
	return s.mergeRaw(ctx, q, inst, resourceUID)
}

func (s *Service) cloudOf(ctx context.Context, q *store.Queries, inst store.Instance, resourceUID, region string) (int64, error) {
	raw, found, err := rawInstance(ctx, q, inst, resourceUID)
	if err != nil || found {
		return raw.CloudID, err
	}
	if inst.CloudID != store.DefaultCloud || region == "" {
		return 0, nil
	}
	clouds, err := q.Clouds(ctx, inst.AccountID)
	clouds = slices.DeleteFunc(clouds, func(c store.Cloud) bool { return c.Region != region })
	if err != nil || len(clouds) != 1 {
		return 0, err
	}
	return clouds[0].ID, nil
}

// rawInstance finds the living instance without a server that has an id.
func rawInstance(ctx context.Context, q *store.Queries, not store.Instance, resourceUID string) (store.Instance, bool, error) {
	list, err := q.InstancesByResource(ctx, not.AccountID, resourceUID)
	for _, i := range list {
		if i.ID != not.ID && i.ServerID == 0 && i.EndedAt.IsZero() {
			return i, true, err
		}
	}
	return store.Instance{}, false, err
}

// mergeRaw makes one instance of a server's and of the raw one with the same id,
// if there is such a one.
func (s *Service) mergeRaw(ctx context.Context, q *store.Queries, inst store.Instance, resourceUID string) error {
	raw, found, err := rawInstance(ctx, q, inst, resourceUID)
	if err != nil || !found {
		return err
	}
	seen := raw
	seen.ID = inst.ID
	if len(inst.PublicIPs)+len(inst.PrivateIPs) > 0 && !inst.DeclaredAt.IsZero() {
		seen.PublicIPs, seen.PrivateIPs = inst.PublicIPs, inst.PrivateIPs
	}
	if err := q.SeeInstance(ctx, seen, s.Now()); err != nil {
		return err
	}
	if err := q.MergeInstance(ctx, raw, inst, InstanceHref(raw), InstanceHref(inst)); err != nil {
		return err
	}
	return s.Remark(ctx, q, inst, Remark{Summary: resourceUID + " is the instance that was found in the cloud before"})
}

// SetState moves an instance to a state and its server with it, if it is the
// server's newest; why is the kind in its history.
func (s *Service) SetState(ctx context.Context, q *store.Queries, instance int64, to, why string) error {
	inst, err := q.Instance(ctx, instance)
	if err != nil || inst.State == to {
		return err
	}
	if err := s.moveState(ctx, q, inst, to, why); err != nil || inst.ServerID == 0 {
		return err
	}
	token, err := q.LatestToken(ctx, inst.ServerID)
	if errors.Is(err, store.ErrNotFound) || err == nil && token.InstanceID != inst.ID {
		return nil // an older instance does not speak for the server
	}
	if err != nil {
		return err
	}
	if to == wire.StateTerminated {
		to = wire.StateInactive
	}
	return q.SetServerState(ctx, inst.ServerID, to, s.Now())
}

// AskShutdown asks the agent of an instance to decommission it.
func (s *Service) AskShutdown(ctx context.Context, q *store.Queries, inst store.Instance, kind string) error {
	return s.addEvent(ctx, q, inst, wire.ActorScheduleDecommission, order{Kind: kind})
}

// ShutdownWaits tells whether the agent has not taken AskShutdown's request yet.
func (s *Service) ShutdownWaits(ctx context.Context, q *store.Queries, instance int64) (bool, error) {
	events, err := q.Events(ctx, instance, s.Now())
	return slices.ContainsFunc(events, func(e store.Event) bool { return e.Path == wire.ActorScheduleDecommission }), err
}

// MissingInputs names the inputs of the boot scripts that have no value yet,
// as "script: NAME, NAME".
func (s *Service) MissingInputs(ctx context.Context, q *store.Queries, inst store.Instance) ([]string, error) {
	server, err := q.Server(ctx, inst.ServerID)
	if err != nil {
		return nil, err
	}
	scripts, err := enabledScripts(ctx, q, server, servertemplate.Boot)
	if err != nil {
		return nil, err
	}
	list, err := s.instantiate(ctx, q, Session{}, "", inst, server, scripts, nil)
	var missing []string
	for _, script := range list {
		if !script.Ready {
			missing = append(missing, script.Nickname+": "+strings.Join(sortedKeys(script.InputFlags), ", "))
		}
	}
	return missing, err
}

// SetEnrolment writes how the next instance of a server enrols.
func (s *Service) SetEnrolment(ctx context.Context, by By, name, enrolment string) error {
	if err := checkEnrolment(enrolment); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := q.ServerByName(ctx, by.Account, name)
		if err != nil || server.Enrolment == enrolment {
			return err
		}
		return s.setEnrolment(ctx, q, by, server, enrolment)
	})
}

func (s *Service) setEnrolment(ctx context.Context, q *store.Queries, by By, server store.Server, enrolment string) error {
	if err := q.SetEnrolment(ctx, server.ID, enrolment, s.Now()); err != nil {
		return err
	}
	return s.noteBy(ctx, q, by.Who, server, 0, "enrolment is "+enrolment+" from now on", "")
}

// ShowInstance shows one instance.
func (s *Service) ShowInstance(ctx context.Context, id int64) (*InstanceView, error) {
	inst, err := s.DB.Instance(ctx, id)
	if err != nil {
		return nil, err
	}
	name := ""
	if inst.ServerID != 0 {
		server, err := s.DB.Server(ctx, inst.ServerID)
		if err != nil {
			return nil, err
		}
		name = server.Name
	}
	v, err := s.instanceView(ctx, inst, name)
	return &v, err
}
