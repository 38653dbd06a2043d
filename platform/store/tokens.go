// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// EnrolmentToken is the launch identity of one instance of a server. The token
// itself is only here as a hash, and sealed.
type EnrolmentToken struct {
	ID         int64
	ServerID   int64
	InstanceID int64
	Hash       []byte
	Sealed     []byte
	AgentID    string
	CreatedAt  time.Time
	RevokedAt  time.Time
}

// CreateEnrolmentToken stores a token and returns its id. The agent id contains
// the token's id, so it follows with SetAgentID.
func (q *Queries) CreateEnrolmentToken(ctx context.Context, t EnrolmentToken, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO enrolment_tokens (server_id, instance_id, hash, sealed, agent_id, created_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id`,
		t.ServerID, t.InstanceID, t.Hash, t.Sealed, t.AgentID, millis(now))
}

// SetAgentID completes a token.
func (q *Queries) SetAgentID(ctx context.Context, id int64, agentID string) error {
	_, err := q.exec(ctx, `UPDATE enrolment_tokens SET agent_id = ? WHERE id = ?`, agentID, id)
	return err
}

const tokenColumns = `SELECT id, server_id, instance_id, hash, sealed, agent_id, created_at, revoked_at FROM enrolment_tokens `

func scanToken(row scanner) (t EnrolmentToken, err error) {
	err = row.Scan(&t.ID, &t.ServerID, &t.InstanceID, &t.Hash, &t.Sealed, &t.AgentID, stamp{&t.CreatedAt}, stamp{&t.RevokedAt})
	return t, err
}

// EnrolmentToken finds a token by id, revoked or not.
func (q *Queries) EnrolmentToken(ctx context.Context, id int64) (EnrolmentToken, error) {
	t, err := scanToken(q.row(ctx, tokenColumns+`WHERE id = ?`, id))
	return t, one("token", id, err)
}

// LatestToken finds the newest token of a server.
func (q *Queries) LatestToken(ctx context.Context, serverID int64) (EnrolmentToken, error) {
	t, err := scanToken(q.row(ctx, tokenColumns+`WHERE server_id = ? ORDER BY id DESC LIMIT 1`, serverID))
	return t, one("token of server", serverID, err)
}

// RevokeTokens ends all tokens of a server and the sessions made with them.
func (q *Queries) RevokeTokens(ctx context.Context, serverID int64, now time.Time) error {
	if _, err := q.exec(ctx, `DELETE FROM access_tokens WHERE token_id IN (SELECT id FROM enrolment_tokens WHERE server_id = ?)`, serverID); err != nil {
		return fmt.Errorf("end sessions: %w", err)
	}
	_, err := q.exec(ctx, `UPDATE enrolment_tokens SET revoked_at = ? WHERE server_id = ? AND revoked_at = 0`, millis(now), serverID)
	return err
}

// CreateAccessToken stores the hash of a bearer token. DropExpired removes it
// when its time is over: here, every login would collide with every other.
func (q *Queries) CreateAccessToken(ctx context.Context, hash []byte, tokenID int64, expires, now time.Time) error {
	_, err := q.exec(ctx, `INSERT INTO access_tokens (hash, token_id, created_at, expires_at) VALUES (?, ?, ?, ?)`, hash, tokenID, millis(now), millis(expires))
	return err
}

// AccessToken finds the enrolment token behind a bearer token's hash.
func (q *Queries) AccessToken(ctx context.Context, hash []byte, now time.Time) (tokenID int64, err error) {
	err = q.row(ctx, `SELECT token_id FROM access_tokens WHERE hash = ? AND expires_at > ?`, hash, millis(now)).Scan(&tokenID)
	return tokenID, one("access token", "", err)
}

// DeleteAccessToken ends one session.
func (q *Queries) DeleteAccessToken(ctx context.Context, hash []byte) error {
	_, err := q.exec(ctx, `DELETE FROM access_tokens WHERE hash = ?`, hash)
	return err
}

// RevokeTokenOf ends the token of one instance; sessions run out by themselves.
func (q *Queries) RevokeTokenOf(ctx context.Context, instanceID int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE enrolment_tokens SET revoked_at = ? WHERE instance_id = ? AND revoked_at = 0`, millis(now), instanceID)
	return err
}
