// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// nonceTime is how long an agent may take from the challenge to the proof.
const nonceTime = 5 * time.Minute

const noncePurpose = "nonce"

// Challenge says how the holder of a token enrols, and gives a nonce for one
// proof. Nothing is stored: the nonce proves itself, and only a used one is
// kept until it expires. Unknown tokens get an answer like any other.
func (s *Service) Challenge(ctx context.Context, tokenID int64) (wire.Challenge, error) {
	c := wire.Challenge{Enrolment: wire.EnrolAttested, ExpiresIn: int64(nonceTime / time.Second)}
	server, known, err := s.enrolmentOf(ctx, tokenID)
	if err != nil {
		return c, err
	}
	if !known && server.Enrolment == wire.EnrolLegacy {
		return wire.Challenge{Enrolment: wire.EnrolLegacy}, nil
	}
	head := fmt.Sprintf("%d.%s", s.Now().Add(nonceTime).Unix(), randomHex(16))
	c.Nonce = head + "." + base64.RawURLEncoding.EncodeToString(s.Keys.Sign(noncePurpose, nonceMessage(tokenID, head)))
	return c, nil
}

// enrolmentOf returns the server of a token, empty when there is none, and
// whether the token was used by attestation.
func (s *Service) enrolmentOf(ctx context.Context, tokenID int64) (server store.Server, attested bool, err error) {
	token, err := s.DB.EnrolmentToken(ctx, tokenID)
	if err == nil {
		server, err = s.DB.Server(ctx, token.ServerID)
	}
	if err == nil {
		_, err = s.DB.Attestation(ctx, tokenID)
		attested = err == nil
	}
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return server, attested, err
}

// checkNonce wants a nonce of ours for this token that has not expired.
func (s *Service) checkNonce(tokenID int64, nonce string) (expires time.Time, err error) {
	wrong := refused("the nonce is not valid (any more); ask for a new one at /api%s", wire.PathChallenge)
	parts := strings.Split(nonce, ".")
	if len(parts) != 3 || len(nonce) > 200 {
		return expires, wrong
	}
	mac, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !s.Keys.Verify(noncePurpose, nonceMessage(tokenID, parts[0]+"."+parts[1]), mac) {
		return expires, wrong
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || s.Now().After(time.Unix(seconds, 0)) {
		return expires, wrong
	}
	// Kept a little longer than it is good for.
	return time.Unix(seconds, 0).Add(time.Minute), nil
}

func nonceMessage(tokenID int64, head string) string { return fmt.Sprintf("%d %s", tokenID, head) }
