// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Attestation is what proves an instance after its token was used.
type Attestation struct {
	TokenID     int64
	InstanceUID string
	Account     string // the cloud's
	Region      string
	Image       string
	PendingAt   time.Time // pendingTime of the newest document seen
	PublicKey   []byte
	NextKey     []byte // empty unless one is proposed
	KeySince    time.Time
	CreatedAt   time.Time
}

// Expected says which instances may use a token.
type Expected struct {
	// Instances is empty when any may.
	Instances []string `json:"instances,omitempty"`
	// Nobody keeps everybody out: the instance is being launched, and its id is
	// not known yet.
	Nobody bool `json:"nobody,omitempty"`
	// AnyAge lets instances in that were launched long ago.
	AnyAge bool `json:"any_age,omitempty"`
}

// Attestation finds the attestation of a token.
func (q *Queries) Attestation(ctx context.Context, tokenID int64) (a Attestation, err error) {
	err = q.row(ctx, `SELECT token_id, instance_uid, account, region, image, pending_at, public_key, next_key, key_since, created_at
		FROM attestations WHERE token_id = ?`, tokenID).
		Scan(&a.TokenID, &a.InstanceUID, &a.Account, &a.Region, &a.Image, stamp{&a.PendingAt}, &a.PublicKey, &a.NextKey, stamp{&a.KeySince}, stamp{&a.CreatedAt})
	return a, one("attestation of token", tokenID, err)
}

// PutAttestation stores a new attestation, or the keys and the time of a known
// one.
func (q *Queries) PutAttestation(ctx context.Context, a Attestation) error {
	next := a.NextKey
	if next == nil {
		next = []byte{}
	}
	_, err := q.exec(ctx, `INSERT INTO attestations (token_id, instance_uid, account, region, image, pending_at, public_key, next_key, key_since, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (token_id) DO UPDATE SET pending_at = excluded.pending_at, public_key = excluded.public_key, next_key = excluded.next_key, key_since = excluded.key_since`,
		a.TokenID, a.InstanceUID, a.Account, a.Region, a.Image, millis(a.PendingAt), a.PublicKey, next, millis(a.KeySince), millis(a.CreatedAt))
	return err
}

// UseNonce notes the hash of a nonce; false when it was used before. It stays
// until DropExpired.
func (q *Queries) UseNonce(ctx context.Context, hash []byte, expires time.Time) (bool, error) {
	n, err := q.exec(ctx, `INSERT INTO used_nonces (hash, expires_at) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING`, hash, millis(expires))
	return n == 1, err
}

// Expected returns which instances may use a token.
func (q *Queries) Expected(ctx context.Context, tokenID int64) (e Expected, err error) {
	var text string
	if err = q.row(ctx, `SELECT expected FROM enrolment_tokens WHERE id = ?`, tokenID).Scan(&text); err != nil {
		return e, one("token", tokenID, err)
	}
	return e, json.Unmarshal([]byte(text), &e)
}

// SetExpected writes which instances may use a token.
func (q *Queries) SetExpected(ctx context.Context, tokenID int64, e Expected) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE enrolment_tokens SET expected = ? WHERE id = ?`, string(text), tokenID)
	return err
}

// MarkAttested notes that an instance has proved which one it is.
func (q *Queries) MarkAttested(ctx context.Context, instanceID int64, uid string, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET resource_uid = ?, attested_at = ?, updated_at = ? WHERE id = ?`, uid, millis(now), millis(now), instanceID)
	return err
}

// AttestedInstances lists the instances of an account with this id of the cloud
// that have enrolled by attestation; with living, only those whose token has
// not been revoked.
func (q *Queries) AttestedInstances(ctx context.Context, account int64, uid string, living bool) ([]Instance, error) {
	list, err := q.instances(ctx, `WHERE account_id = ? AND resource_uid = ? AND attested_at > 0
		AND (CAST(? AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM enrolment_tokens t WHERE t.instance_id = instances.id AND t.revoked_at = 0)) ORDER BY id`, account, uid, flag(living))
	if err != nil {
		return nil, fmt.Errorf("attested instances: %w", err)
	}
	return list, nil
}

// flag is a truth value as the SQL of every database knows it.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
