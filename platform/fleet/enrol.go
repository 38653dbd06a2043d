// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

var resourceUID = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,255}$`)

// Declare binds a token to the first instance that shows it, and recognises
// that instance when it comes back after a reboot. A second instance with the
// same token is refused: it is a clone, or user-data used twice.
func (s *Service) Declare(ctx context.Context, sess Session, req wire.DeclareRequest) (agentID string, err error) {
	if err := checkDeclare(req); err != nil {
		return "", err
	}
	var refusal error
	err = s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		if err := q.Alone(ctx, oneInstance(req.ResourceUID)); err != nil {
			return err
		}
		inst, server, err := self(ctx, q, sess)
		if err != nil {
			return err
		}
		if refusal = mayDeclare(sess, inst, server, req); refusal == nil {
			refusal, err = mayBeLegacy(ctx, q, sess, server, req)
		}
		if err != nil {
			return err
		}
		if refusal != nil {
			// The refusal itself must be kept, so this is not an error here.
			return s.refuse(ctx, q, sess, server, inst, req, refusal)
		}
		return s.enrol(ctx, q, sess, server, inst, req)
	})
	if err == nil {
		err = refusal
	}
	return sess.Token.AgentID, err
}

func mayDeclare(sess Session, inst store.Instance, server store.Server, req wire.DeclareRequest) error {
	switch {
	case !inst.EndedAt.IsZero():
		return refused("instance %s of server %q is %s; use \"server relaunch\" for a new token", inst.ResourceUID, server.Name, inst.State)
	case inst.ResourceUID != "" && inst.ResourceUID != req.ResourceUID:
		return refused("token %d belongs to instance %s; %s cannot use it", sess.Token.ID, inst.ResourceUID, req.ResourceUID)
	}
	return nil
}

// refuse ends the clone's session, so that it cannot ask for the bundle of the
// instance it is a copy of, and leaves a trace on the server.
func (s *Service) refuse(ctx context.Context, q *store.Queries, sess Session, server store.Server, inst store.Instance, req wire.DeclareRequest, why error) error {
	if err := q.DeleteAccessToken(ctx, sess.hash); err != nil {
		return err
	}
	return s.noteRefusal(ctx, q, server, inst.ID, req.ResourceUID, why.Error()+"\n"+describe(req))
}

// mayBeLegacy refuses an instance that comes with a token alone and has been
// attested before: that must never be a way around its key.
func mayBeLegacy(ctx context.Context, q *store.Queries, sess Session, server store.Server, req wire.DeclareRequest) (refusal, err error) {
	_, err = q.Attestation(ctx, sess.Token.ID)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	before, err := q.AttestedInstances(ctx, server.AccountID, req.ResourceUID, false)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	return refused("%s has enrolled by attestation and cannot use a token alone; use \"server relaunch --enrolment attested\"", req.ResourceUID), nil
}

func (s *Service) enrol(ctx context.Context, q *store.Queries, sess Session, server store.Server, inst store.Instance, req wire.DeclareRequest) error {
	first := inst.DeclaredAt.IsZero()
	inst.ResourceUID, inst.Cloud, inst.ImageUID = req.ResourceUID, req.Cloud, req.ImageUID
	inst.PublicIPs, inst.PrivateIPs = req.PublicAddresses, req.PrivateAddresses
	inst.RightLinkVersion = req.RightLinkVersion
	if err := q.DeclareInstance(ctx, inst, s.Now()); err != nil {
		return err
	}
	if first {
		if err := s.place(ctx, q, inst.ID, req.ResourceUID, ""); err != nil {
			return err
		}
	}
	if !first {
		return s.note(ctx, q, server, inst.ID, req.ResourceUID+" declared itself again", describe(req))
	}
	if err := q.SetServerState(ctx, server.ID, wire.StatePending, s.Now()); err != nil {
		return err
	}
	return s.note(ctx, q, server, inst.ID, fmt.Sprintf("%s enrolled with token %d", req.ResourceUID, sess.Token.ID), describe(req))
}

func checkDeclare(req wire.DeclareRequest) error {
	if !resourceUID.MatchString(req.ResourceUID) {
		return invalid("resource_uid %q: want the cloud's instance id, letters, digits and ._:/-", clip(req.ResourceUID, 40))
	}
	for _, text := range []string{req.RightLinkVersion, req.Cloud, req.ImageUID} {
		if len(text) > 255 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return invalid("right_link_version, cloud and image_uid: want at most 255 printable characters")
		}
	}
	if len(req.PublicAddresses) > 64 || len(req.PrivateAddresses) > 64 {
		return invalid("public_ip_addresses, private_ip_addresses: want at most 64 each")
	}
	for _, list := range [][]string{req.PublicAddresses, req.PrivateAddresses} {
		for _, a := range list {
			if _, err := netip.ParseAddr(a); err != nil {
				return invalid("%q is not an IP address", clip(a, 40))
			}
		}
	}
	return nil
}

func describe(req wire.DeclareRequest) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	line("instance", req.ResourceUID)
	line("cloud", req.Cloud)
	line("image", req.ImageUID)
	line("RightLink", req.RightLinkVersion)
	line("public addresses", strings.Join(req.PublicAddresses, " "))
	line("private addresses", strings.Join(req.PrivateAddresses, " "))
	return b.String()
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
