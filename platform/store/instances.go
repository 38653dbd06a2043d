// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Instance is a machine. It exists here from the moment its token is issued;
// ResourceUID is empty and DeclaredAt zero until it declares itself.
type Instance struct {
	ID, AccountID    int64
	CloudID          int64
	ServerID         int64 // 0 when it belongs to no server any more
	UID              string
	ResourceUID      string
	Cloud            string
	ImageUID         string
	PublicIPs        []string
	PrivateIPs       []string
	RightLinkVersion string
	State            string
	CreatedAt        time.Time
	DeclaredAt       time.Time
	UpdatedAt        time.Time
	EndedAt          time.Time
	// What the cloud says of it, see discovery.go.
	Name         string
	InstanceType string
	Datacenter   string
	CloudState   string    // running, stopped, …; empty when no listing has shown it
	ClientToken  string    // of our launch; empty when we have not launched it
	SeenCloudID  int64     // the cloud that lists it; CloudID stays as in its href
	LaunchedAt   time.Time // when it was launched, or asked for
	SeenAt       time.Time
	GoneAt       time.Time
}

// CreateInstance stores a new instance and returns its id.
func (q *Queries) CreateInstance(ctx context.Context, i Instance, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO instances (account_id, cloud_id, server_id, uid, state, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		i.AccountID, i.CloudID, nullID(i.ServerID), i.UID, i.State, millis(now), millis(now))
}

// ReleaseInstance makes a raw instance of a server's: what its launch and its
// agent have left in its row, its inputs and what waits for the agent is gone.
func (q *Queries) ReleaseInstance(ctx context.Context, id int64, name string, now time.Time) error {
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`DELETE FROM instance_inputs WHERE instance_id = ?`, []any{id}},
		{`DELETE FROM events WHERE instance_id = ?`, []any{id}},
		{`UPDATE instances SET server_id = NULL, client_token = '', declared_at = 0, attested_at = 0, rightlink_version = '', name = ?, updated_at = ? WHERE id = ?`, []any{name, millis(now), id}},
	} {
		if _, err := q.exec(ctx, step.query, step.args...); err != nil {
			return fmt.Errorf("release instance: %w", err)
		}
	}
	return nil
}

const instanceColumns = `SELECT id, account_id, cloud_id, server_id, uid, resource_uid, cloud, image_uid, public_ips, private_ips, rightlink_version, state, created_at, declared_at, updated_at, ended_at,
	name, instance_type, datacenter, cloud_state, client_token, seen_cloud_id, launched_at, seen_at, gone_at FROM instances `

func scanInstance(row scanner) (i Instance, err error) {
	var server sql.NullInt64
	var public, private string
	err = row.Scan(&i.ID, &i.AccountID, &i.CloudID, &server, &i.UID, &i.ResourceUID, &i.Cloud, &i.ImageUID, &public, &private, &i.RightLinkVersion, &i.State,
		stamp{&i.CreatedAt}, stamp{&i.DeclaredAt}, stamp{&i.UpdatedAt}, stamp{&i.EndedAt}, &i.Name, &i.InstanceType, &i.Datacenter, &i.CloudState,
		&i.ClientToken, &i.SeenCloudID, stamp{&i.LaunchedAt}, stamp{&i.SeenAt}, stamp{&i.GoneAt})
	if err != nil {
		return i, err
	}
	i.ServerID = server.Int64
	if err = json.Unmarshal([]byte(public), &i.PublicIPs); err != nil {
		return i, err
	}
	return i, json.Unmarshal([]byte(private), &i.PrivateIPs)
}

// Instance finds an instance by id.
func (q *Queries) Instance(ctx context.Context, id int64) (Instance, error) {
	i, err := scanInstance(q.row(ctx, instanceColumns+`WHERE id = ?`, id))
	return i, one("instance", id, err)
}

// Instances lists the declared instances of an account, oldest first.
func (q *Queries) Instances(ctx context.Context, account int64) ([]Instance, error) {
	return q.instances(ctx, `WHERE account_id = ? AND declared_at > 0 ORDER BY id`, account)
}

// InstancesOfServer lists the declared instances of a server, oldest first.
func (q *Queries) InstancesOfServer(ctx context.Context, serverID int64) ([]Instance, error) {
	return q.instances(ctx, `WHERE server_id = ? AND declared_at > 0 ORDER BY id`, serverID)
}

func (q *Queries) instances(ctx context.Context, where string, args ...any) ([]Instance, error) {
	return listed(ctx, q, scanInstance, instanceColumns+where, args...)
}

// DeclareInstance writes what an instance says about itself.
func (q *Queries) DeclareInstance(ctx context.Context, i Instance, now time.Time) error {
	public, private, err := i.addresses()
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE instances SET resource_uid = ?, cloud = ?, image_uid = ?, public_ips = ?, private_ips = ?, rightlink_version = ?,
		declared_at = CASE WHEN declared_at = 0 THEN ? ELSE declared_at END, updated_at = ? WHERE id = ?`,
		i.ResourceUID, i.Cloud, i.ImageUID, public, private, i.RightLinkVersion, millis(now), millis(now), i.ID)
	return err
}

// addresses are those of an instance as its row holds them: JSON lists.
func (i Instance) addresses() (public, private string, err error) {
	a, err := json.Marshal(nonNil(i.PublicIPs))
	if err != nil {
		return "", "", err
	}
	b, err := json.Marshal(nonNil(i.PrivateIPs))
	return string(a), string(b), err
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// SetInstanceState writes a state; ended is zero for an instance that lives.
func (q *Queries) SetInstanceState(ctx context.Context, id int64, state string, ended, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE instances SET state = ?, ended_at = ?, updated_at = ? WHERE id = ?`, state, millis(ended), millis(now), id)
	return err
}

// StateChange is one line of an instance's history.
type StateChange struct {
	InstanceID int64
	From, To   string
	Kind       string
	At         time.Time
}

// AddStateChange appends to the history.
func (q *Queries) AddStateChange(ctx context.Context, c StateChange) error {
	_, err := q.exec(ctx, `INSERT INTO state_history (instance_id, from_state, to_state, kind, at) VALUES (?, ?, ?, ?, ?)`, c.InstanceID, c.From, c.To, c.Kind, millis(c.At))
	return err
}

// StateHistory lists the changes of an instance, oldest first.
func (q *Queries) StateHistory(ctx context.Context, instanceID int64) (list []StateChange, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		c := StateChange{InstanceID: instanceID}
		err := rows.Scan(&c.From, &c.To, &c.Kind, stamp{&c.At})
		list = append(list, c)
		return err
	}, `SELECT from_state, to_state, kind, at FROM state_history WHERE instance_id = ? ORDER BY id`, instanceID)
	return list, err
}
