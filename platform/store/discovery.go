// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// CreateRawInstance stores an instance that a listing has shown and that no
// server has.
func (q *Queries) CreateRawInstance(ctx context.Context, i Instance, now time.Time) (int64, error) {
	id, err := q.insert(ctx, `INSERT INTO instances (account_id, cloud_id, server_id, uid, resource_uid, cloud, state, created_at, updated_at)
		VALUES (?, ?, NULL, ?, ?, ?, ?, ?, ?) RETURNING id`, i.AccountID, i.CloudID, i.UID, i.ResourceUID, i.Cloud, i.State, millis(now), millis(now))
	if err != nil {
		return 0, fmt.Errorf("create raw instance: %w", err)
	}
	i.ID = id
	return id, q.SeeInstance(ctx, i, now)
}

// SeeInstance writes what a cloud says of an instance. Addresses that its agent
// has declared stay, and State and EndedAt are not touched.
func (q *Queries) SeeInstance(ctx context.Context, i Instance, now time.Time) error {
	public, private, err := i.addresses()
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE instances SET name = ?, image_uid = ?, instance_type = ?, datacenter = ?, cloud_state = ?,
		public_ips = CASE WHEN declared_at > 0 AND public_ips <> '[]' THEN public_ips ELSE ? END,
		private_ips = CASE WHEN declared_at > 0 AND private_ips <> '[]' THEN private_ips ELSE ? END,
		seen_cloud_id = ?, launched_at = ?, seen_at = ?, gone_at = 0, updated_at = ? WHERE id = ?`,
		i.Name, i.ImageUID, i.InstanceType, i.Datacenter, i.CloudState, public, private, i.SeenCloudID, millis(i.LaunchedAt), millis(now), millis(now), i.ID)
	return err
}

// SetInstanceGone notes that the cloud does not list an instance any more.
func (q *Queries) SetInstanceGone(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET gone_at = ?, cloud_state = 'terminated', updated_at = ? WHERE id = ?`, millis(now), millis(now), id)
	return err
}

// InstancesSeenIn lists the instances that a cloud has shown and not ceased to.
func (q *Queries) InstancesSeenIn(ctx context.Context, cloudID int64) ([]Instance, error) {
	return q.instances(ctx, `WHERE seen_cloud_id = ? AND gone_at = 0 ORDER BY id`, cloudID)
}

// InstancesByResource lists the instances of an account with this id of the
// cloud: more than one when a server was relaunched, or found again as raw.
func (q *Queries) InstancesByResource(ctx context.Context, account int64, resourceUID string) ([]Instance, error) {
	return q.instances(ctx, `WHERE account_id = ? AND resource_uid = ? ORDER BY ended_at > 0, id DESC`, account, resourceUID)
}

// InstanceByClientToken finds the instance that was launched with a client
// token.
func (q *Queries) InstanceByClientToken(ctx context.Context, token string) (Instance, error) {
	i, err := scanInstance(q.row(ctx, instanceColumns+`WHERE client_token = ?`, token))
	return i, one("instance with client token", token, err)
}

// KnownInstances lists all instances of an account that exist or have existed:
// those that have enrolled, were launched, or were found in a cloud.
func (q *Queries) KnownInstances(ctx context.Context, account int64) ([]Instance, error) {
	return q.instances(ctx, `WHERE account_id = ? AND (declared_at > 0 OR resource_uid <> '' OR launched_at > 0) ORDER BY id`, account)
}

// SetLaunch notes with which client token, in which cloud and from which image
// an instance is launched.
func (q *Queries) SetLaunch(ctx context.Context, i Instance, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET cloud_id = ?, client_token = ?, name = ?, image_uid = ?, instance_type = ?, launched_at = ?, updated_at = ? WHERE id = ?`,
		i.CloudID, i.ClientToken, i.Name, i.ImageUID, i.InstanceType, millis(i.LaunchedAt), millis(now), i.ID)
	return err
}

// SetResource writes which machine of the cloud an instance is.
func (q *Queries) SetResource(ctx context.Context, id int64, resourceUID string, cloudID int64, cloudState string, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET resource_uid = ?, seen_cloud_id = ?, cloud_state = ?, updated_at = ? WHERE id = ?`,
		resourceUID, cloudID, cloudState, millis(now), id)
	return err
}

// SetCloudState writes the state that the cloud gives to an instance.
func (q *Queries) SetCloudState(ctx context.Context, id int64, state string, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET cloud_state = ?, updated_at = ? WHERE id = ?`, state, millis(now), id)
	return err
}

// PlaceInstance moves an instance to a cloud, href and all; only before its
// agent knows its href.
func (q *Queries) PlaceInstance(ctx context.Context, id, cloudID int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET cloud_id = ?, updated_at = ? WHERE id = ?`, cloudID, millis(now), id)
	return err
}

// MergeInstance gives what belongs to a raw instance to the one that its server
// has, and removes the raw one. The hrefs are those of both.
func (q *Queries) MergeInstance(ctx context.Context, raw, into Instance, rawHref, intoHref string) error {
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO tags (account_id, href, name) SELECT account_id, ?, name FROM tags WHERE account_id = ? AND href = ? ON CONFLICT DO NOTHING`,
			[]any{intoHref, raw.AccountID, rawHref}},
		{`DELETE FROM tags WHERE account_id = ? AND href = ?`, []any{raw.AccountID, rawHref}},
		{`UPDATE audit_entries SET instance_id = ?, auditee_href = ? WHERE instance_id = ?`, []any{into.ID, intoHref, raw.ID}},
		{`UPDATE machine_jobs SET instance_id = ? WHERE instance_id = ? AND done_at > 0`, []any{into.ID, raw.ID}},
		{`DELETE FROM instances WHERE id = ?`, []any{raw.ID}},
	} {
		if _, err := q.exec(ctx, step.query, step.args...); err != nil {
			return fmt.Errorf("merge instances: %w", err)
		}
	}
	return nil
}

// StuckInstances lists the living instances of servers that have been in a
// state since before a time.
func (q *Queries) StuckInstances(ctx context.Context, state string, before time.Time) ([]Instance, error) {
	return q.instances(ctx, `WHERE state = ? AND ended_at = 0 AND server_id IS NOT NULL AND (declared_at > 0 OR resource_uid <> '')
		AND COALESCE((SELECT MAX(h.at) FROM state_history h WHERE h.instance_id = instances.id),
			CASE WHEN declared_at > 0 THEN declared_at WHEN attested_at > 0 THEN attested_at ELSE launched_at END) < ? ORDER BY id`, state, millis(before))
}
