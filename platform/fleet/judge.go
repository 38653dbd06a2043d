// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/attest"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Attestation is what the platform asks of instances that prove who they are.
type Attestation struct {
	// Trust says whose identity documents are believed.
	Trust attest.Trust
	// Rules hold for all servers; each server may have further ones.
	Rules attest.Rules
	// MaxAge bounds, at the first enrolment, the time since the instance was
	// launched; 0 for DefaultDocumentAge.
	MaxAge time.Duration
	// KeyLifetime is when an instance is asked for a new key; 0 for
	// DefaultKeyLifetime.
	KeyLifetime time.Duration
	// RequireExpected lets in only instances that a server expects by id.
	RequireExpected bool
}

// Defaults of Attestation. An agent tries for 96 hours to enrol, so that a
// shorter age would shut out those that waited for a platform to come back.
const (
	DefaultDocumentAge = 96 * time.Hour
	DefaultKeyLifetime = 30 * 24 * time.Hour
)

// clockSkew is how far ahead of ours the cloud's clock may be.
const clockSkew = 5 * time.Minute

func (a Attestation) maxAge() time.Duration {
	if a.MaxAge > 0 {
		return a.MaxAge
	}
	return DefaultDocumentAge
}

func (a Attestation) keyLifetime() time.Duration {
	if a.KeyLifetime > 0 {
		return a.KeyLifetime
	}
	return DefaultKeyLifetime
}

// judge decides on a genuine document. The refusal is for the agent and the
// audit trail, err is for failures of our own.
func (s *Service) judge(ctx context.Context, q *store.Queries, c caller, doc attest.Document) (refusal, err error) {
	if c.stranger {
		return refused("token %d was used by %s, with another key; use \"server relaunch\" for a new token", c.token.ID, c.known.InstanceUID), nil
	}
	var own attest.Rules
	if err := json.Unmarshal(c.server.Allow, &own); err != nil {
		return nil, fmt.Errorf("server %q: what it allows: %w", c.server.Name, err)
	}
	for _, rules := range []attest.Rules{s.Attest.Rules, own} {
		if err := rules.Check(doc); err != nil {
			return refused("%v", err), nil
		}
	}
	if c.known != nil {
		return judgeKnown(*c.known, doc), nil
	}
	if c.server.Enrolment != wire.EnrolAttested {
		return refused("server %q enrols with its token alone (legacy)", c.server.Name), nil
	}
	expected, err := q.Expected(ctx, c.token.ID)
	if err != nil {
		return nil, err
	}
	if refusal := s.judgeNew(expected, doc); refusal != nil {
		return refusal, nil
	}
	return s.judgeOthers(ctx, q, c, doc)
}

// judgeKnown wants the instance that enrolled, and no document from before.
func judgeKnown(known store.Attestation, doc attest.Document) error {
	switch {
	case doc.InstanceID != known.InstanceUID || doc.AccountID != known.Account || doc.Region != known.Region:
		return refused("the key of %s was shown by %s; its disk was copied", known.InstanceUID, doc.InstanceID)
	case doc.PendingTime.Before(known.PendingAt.Truncate(time.Second)):
		return refused("the document of %s is older than one that was shown before", doc.InstanceID)
	}
	return nil
}

// errTooEarly refuses an instance that is quicker than the answer to its launch.
// It asks again after a minute, and by then its id is known.
var errTooEarly = &RefusedError{"the instance of this server is being launched and its id is not known yet; ask again"}

// judgeNew looks at the age and at the instances that are expected.
func (s *Service) judgeNew(expected store.Expected, doc attest.Document) error {
	age := s.Now().Sub(doc.PendingTime)
	switch {
	case expected.Nobody:
		return errTooEarly
	case len(expected.Instances) > 0 && !slices.Contains(expected.Instances, doc.InstanceID):
		return refused("%s is not the instance that is expected (%s)", doc.InstanceID, strings.Join(expected.Instances, ", "))
	case len(expected.Instances) == 0 && s.Attest.RequireExpected:
		return refused("no instance is expected; name it with \"server expect\"")
	case age < -clockSkew:
		return refused("%s was launched in the future (%s); is this platform's clock right?", doc.InstanceID, doc.PendingTime.Format(time.RFC3339))
	case age > s.Attest.maxAge() && !expected.AnyAge:
		return refused("%s was launched %s ago, the limit is %s; launch a new one, or use \"server expect --any-age\"", doc.InstanceID, age.Round(time.Minute), s.Attest.maxAge())
	}
	return nil
}

// judgeOthers keeps one instance from being two servers at once: documents are
// no secret, so that a second token with the same document is suspect.
func (s *Service) judgeOthers(ctx context.Context, q *store.Queries, c caller, doc attest.Document) (refusal, err error) {
	others, err := q.AttestedInstances(ctx, c.server.AccountID, doc.InstanceID, true)
	if err != nil {
		return nil, err
	}
	for _, other := range others {
		if other.ID != c.token.InstanceID {
			return refused("%s has enrolled already, as %s; relaunch or delete the server of that first", doc.InstanceID, InstanceHref(other)), nil
		}
	}
	return nil, nil
}

// Fingerprint names a public key in audit entries and views.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func describeDocument(doc attest.Document, key []byte) string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{
		{"instance", doc.InstanceID}, {"account", doc.AccountID}, {"region", doc.Region}, {"image", doc.ImageID},
	} {
		if f.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", f.name, f.value)
		}
	}
	if !doc.PendingTime.IsZero() {
		fmt.Fprintf(&b, "launched: %s\n", doc.PendingTime.UTC().Format(time.RFC3339))
	}
	if key != nil {
		fmt.Fprintf(&b, "key: %s\n", Fingerprint(key))
	}
	return b.String()
}
