// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

var instanceForm = regexp.MustCompile(`^i-[0-9a-f]{8,40}$`)

func checkEnrolment(enrolment string) error {
	if enrolment != wire.EnrolAttested && enrolment != wire.EnrolLegacy {
		return invalid("enrolment %q: want attested or legacy", clip(enrolment, 40))
	}
	return nil
}

func checkExpected(ids []string) error {
	for _, id := range ids {
		if !instanceForm.MatchString(id) {
			return invalid("expected instance %q: want an id of EC2, such as i-0123456789abcdef0", clip(id, 60))
		}
	}
	return nil
}

// Expect says which instances may use the current token of a server; whoever
// launches one calls it. It has no effect on an instance that has enrolled.
func (s *Service) Expect(ctx context.Context, by By, name string, e store.Expected) error {
	if err := checkExpected(e.Instances); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := q.ServerByName(ctx, by.Account, name)
		if err != nil {
			return err
		}
		return s.expect(ctx, q, by.Who, server, e)
	})
}

func (s *Service) expect(ctx context.Context, q *store.Queries, who string, server store.Server, e store.Expected) error {
	if server.Enrolment != wire.EnrolAttested {
		return invalid("server %q enrols with its token alone (legacy); which instance that is cannot be checked", server.Name)
	}
	token, err := q.LatestToken(ctx, server.ID)
	if err != nil {
		return err
	}
	if known, err := q.Attestation(ctx, token.ID); err == nil {
		return refused("token %d of server %q was used by %s already; use \"server relaunch\" first", token.ID, server.Name, known.InstanceUID)
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := q.SetExpected(ctx, token.ID, e); err != nil {
		return err
	}
	summary := "expected: any instance"
	if len(e.Instances) > 0 {
		summary = "expected: " + strings.Join(e.Instances, ", ")
	}
	return s.noteBy(ctx, q, who, server, 0, summary, "")
}

// AttestationView is how an instance proved itself, as the operator sees it.
type AttestationView struct {
	InstanceID string    `json:"instance_id"`
	Account    string    `json:"account"`
	Region     string    `json:"region"`
	Image      string    `json:"image"`
	Key        string    `json:"key"` // fingerprint
	KeySince   time.Time `json:"key_since"`
	At         time.Time `json:"at"`
}

// attestationView returns what is expected of a token's instance and how it
// proved itself, nil before that.
func (s *Service) attestationView(ctx context.Context, tokenID int64) ([]string, *AttestationView, error) {
	expected, err := s.DB.Expected(ctx, tokenID)
	if err != nil {
		return nil, nil, err
	}
	a, err := s.DB.Attestation(ctx, tokenID)
	if errors.Is(err, store.ErrNotFound) {
		return expected.Instances, nil, nil
	}
	return expected.Instances, &AttestationView{InstanceID: a.InstanceUID, Account: a.Account, Region: a.Region, Image: a.Image,
		Key: Fingerprint(a.PublicKey), KeySince: a.KeySince, At: a.CreatedAt}, err
}
