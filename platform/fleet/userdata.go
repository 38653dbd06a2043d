// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// UserData writes the user-data for launching a server's instance by hand. host
// replaces the platform's public name when it is not empty. The token of a
// legacy server is printed as often as wanted. That of an attested one is known
// to nobody once it was printed, so that a fresh one takes its place each time.
func (s *Service) UserData(ctx context.Context, by By, name string, form userdata.Form, host string) (doc string, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := q.ServerByName(ctx, by.Account, name)
		if err != nil {
			return err
		}
		token, err := s.unusedToken(ctx, q, server)
		if err != nil {
			return err
		}
		if host == "" {
			if host, err = q.Setting(ctx, SettingPublicHost); err != nil {
				return err
			}
		}
		if host == "" {
			return invalid("the platform's public name is not known yet: start \"rightscaled serve --hostname NAME\" once, or give --host")
		}
		plain, err := s.tokenToPrint(ctx, q, by.Who, server, &token)
		if err != nil {
			return err
		}
		doc, err = userdata.Build(form, userdata.Settings{
			TokenID: token.ID, Token: plain, Account: by.Account, Server: host,
			Version: server.RightLinkVersion, Own: server.UserData,
		})
		if err != nil {
			return err
		}
		return s.noteBy(ctx, q, by.Who, server, 0, fmt.Sprintf("launch settings with token %d printed", token.ID), "")
	})
	return doc, err
}

// unusedToken is the token of a server's next instance.
func (s *Service) unusedToken(ctx context.Context, q *store.Queries, server store.Server) (store.EnrolmentToken, error) {
	token, inst, err := s.current(ctx, q, server)
	if err != nil {
		return token, err
	}
	known, err := q.Attestation(ctx, token.ID)
	switch {
	case !token.RevokedAt.IsZero():
		return token, refused("the token of server %q ended with its instance; use \"server relaunch %s\" for a new one", server.Name, server.Name)
	case err == nil:
		return token, refused("the token of server %q was used by %s; use \"server relaunch %s\" for a new one", server.Name, known.InstanceUID, server.Name)
	case !errors.Is(err, store.ErrNotFound):
		return token, err
	case inst.ClientToken != "" && Living(inst):
		return token, refused("server %q is launched by this platform (%s, %s)", server.Name, NameOf(inst), inst.State)
	}
	return token, nil
}

// tokenToPrint returns the token in the clear; a fresh one with the same rights
// where it is kept as a hash only.
func (s *Service) tokenToPrint(ctx context.Context, q *store.Queries, who string, server store.Server, token *store.EnrolmentToken) (secret.String, error) {
	if server.Enrolment == wire.EnrolLegacy && len(token.Sealed) > 0 {
		return s.openToken(*token)
	}
	expected, err := q.Expected(ctx, token.ID)
	if err != nil {
		return "", err
	}
	if err := q.RevokeTokens(ctx, server.ID, s.Now()); err != nil {
		return "", err
	}
	id, plain, err := s.issueFor(ctx, q, who, server, token.InstanceID)
	if err != nil {
		return "", err
	}
	token.ID = id
	return plain, q.SetExpected(ctx, id, expected)
}
