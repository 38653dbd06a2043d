// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// Server is a machine as the operator wants it; Instance is one that exists.
type Server struct {
	ID, AccountID    int64
	Name             string
	Description      string
	TemplateID       int64
	RightLinkVersion string
	UserData         string // the user's own part
	State            string
	Enrolment        string          // wire.EnrolAttested or wire.EnrolLegacy
	Allow            json.RawMessage // attest.Rules
	Launch
	DeploymentID int64 // 0 for none
	ArrayID      int64 // 0 for none
	Locked       bool
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Launch is the configuration of a server's next launch. Names are the cloud's
// own; empty ones are decided by the MultiCloudImage or the cloud.
type Launch struct {
	CloudID           int64
	ImageUID          string // ami-…
	MCIID             int64  // 0 for the default of the ServerTemplate
	InstanceType      string // t3.small
	SubnetUID         string // subnet-…
	SecurityGroupUIDs []string
	SSHKeyUID         string // the key's name
}

// CreateServer stores a new server with its inputs and returns its id.
func (q *Queries) CreateServer(ctx context.Context, s Server, inputs map[string]rightscript.Value, now time.Time) (int64, error) {
	groups, err := json.Marshal(nonNil(s.SecurityGroupUIDs))
	if err != nil {
		return 0, err
	}
	if s.CloudID == 0 {
		s.CloudID = DefaultCloud
	}
	id, err := q.insert(ctx, `INSERT INTO servers (account_id, name, description, server_template_id, rightlink_version, user_data, state, enrolment, allow,
		deployment_id, array_id, locked, cloud_id, image_uid, mci_id, instance_type, subnet_uid, security_group_uids, ssh_key_uid, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		s.AccountID, s.Name, s.Description, s.TemplateID, s.RightLinkVersion, s.UserData, s.State, s.Enrolment, string(s.Allow),
		nullID(s.DeploymentID), nullID(s.ArrayID), flag(s.Locked), s.CloudID, s.ImageUID, nullID(s.MCIID), s.InstanceType, s.SubnetUID, string(groups), s.SSHKeyUID,
		millis(now), millis(now))
	if err != nil {
		return 0, err
	}
	return id, q.SetServerInputs(ctx, id, inputs)
}

// SetServerInputs writes values on a server itself; "inherit" removes one, and
// those not named stay.
func (q *Queries) SetServerInputs(ctx context.Context, id int64, inputs map[string]rightscript.Value) error {
	return q.setInputs(ctx, "server", id, inputs)
}

// SetInstanceInputs does the same for the values of one instance, which count
// before those of its server.
func (q *Queries) SetInstanceInputs(ctx context.Context, id int64, inputs map[string]rightscript.Value) error {
	return q.setInputs(ctx, "instance", id, inputs)
}

func (q *Queries) setInputs(ctx context.Context, owner string, id int64, inputs map[string]rightscript.Value) error {
	for name, value := range inputs {
		statement, args := `INSERT INTO `+owner+`_inputs (`+owner+`_id, name, value) VALUES (?, ?, ?) ON CONFLICT (`+owner+`_id, name) DO UPDATE SET value = excluded.value`,
			[]any{id, name, value.String()}
		if value.Kind == rightscript.KindInherit {
			statement, args = `DELETE FROM `+owner+`_inputs WHERE `+owner+`_id = ? AND name = ?`, []any{id, name}
		}
		if _, err := q.exec(ctx, statement, args...); err != nil {
			return fmt.Errorf("store input %s: %w", name, err)
		}
	}
	return nil
}

// UpdateServer writes what an operator can change of a server, apart from its
// inputs.
func (q *Queries) UpdateServer(ctx context.Context, s Server, now time.Time) error {
	groups, err := json.Marshal(nonNil(s.SecurityGroupUIDs))
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `UPDATE servers SET name = ?, description = ?, server_template_id = ?, rightlink_version = ?, user_data = ?, deployment_id = ?, locked = ?,
		cloud_id = ?, image_uid = ?, mci_id = ?, instance_type = ?, subnet_uid = ?, security_group_uids = ?, ssh_key_uid = ?, updated_at = ? WHERE id = ?`,
		s.Name, s.Description, s.TemplateID, s.RightLinkVersion, s.UserData, nullID(s.DeploymentID), flag(s.Locked),
		s.CloudID, s.ImageUID, nullID(s.MCIID), s.InstanceType, s.SubnetUID, string(groups), s.SSHKeyUID, millis(now), s.ID)
	return err
}

const serverColumns = `SELECT id, account_id, name, description, server_template_id, rightlink_version, user_data, state, enrolment, allow,
	deployment_id, array_id, locked, cloud_id, image_uid, mci_id, instance_type, subnet_uid, security_group_uids, ssh_key_uid, created_at, updated_at FROM servers `

func scanServer(row scanner) (s Server, err error) {
	var allow, groups string
	var deployment, array, mci sql.NullInt64
	var locked int
	err = row.Scan(&s.ID, &s.AccountID, &s.Name, &s.Description, &s.TemplateID, &s.RightLinkVersion, &s.UserData, &s.State, &s.Enrolment, &allow,
		&deployment, &array, &locked, &s.CloudID, &s.ImageUID, &mci, &s.InstanceType, &s.SubnetUID, &groups, &s.SSHKeyUID, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
	if err != nil {
		return s, err
	}
	s.Allow = json.RawMessage(allow)
	s.DeploymentID, s.ArrayID, s.MCIID, s.Locked = deployment.Int64, array.Int64, mci.Int64, locked != 0
	return s, json.Unmarshal([]byte(groups), &s.SecurityGroupUIDs)
}

// Server finds a server by id.
func (q *Queries) Server(ctx context.Context, id int64) (Server, error) {
	s, err := scanServer(q.row(ctx, serverColumns+`WHERE id = ?`, id))
	return s, one("server", id, err)
}

// ServerByName finds a server by name.
func (q *Queries) ServerByName(ctx context.Context, account int64, name string) (Server, error) {
	s, err := scanServer(q.row(ctx, serverColumns+`WHERE account_id = ? AND name = ?`, account, name))
	return s, one("server", fmt.Sprintf("%q", name), err)
}

// Servers lists the servers of an account by name.
func (q *Queries) Servers(ctx context.Context, account int64) ([]Server, error) {
	return listed(ctx, q, scanServer, serverColumns+`WHERE account_id = ? ORDER BY name`, account)
}

// ServerInputs returns the values set on a server itself.
func (q *Queries) ServerInputs(ctx context.Context, serverID int64) (map[string]rightscript.Value, error) {
	return q.inputs(ctx, "server", serverID)
}

// InstanceInputs returns the values set on an instance itself.
func (q *Queries) InstanceInputs(ctx context.Context, instanceID int64) (map[string]rightscript.Value, error) {
	return q.inputs(ctx, "instance", instanceID)
}

func (q *Queries) inputs(ctx context.Context, owner string, id int64) (map[string]rightscript.Value, error) {
	inputs := map[string]rightscript.Value{}
	err := q.each(ctx, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		v, err := rightscript.ParseValue(value)
		inputs[name] = v
		return err
	}, `SELECT name, value FROM `+owner+`_inputs WHERE `+owner+`_id = ?`, id)
	return inputs, err
}

// SetEnrolment writes how the server's next instance enrols.
func (q *Queries) SetEnrolment(ctx context.Context, id int64, enrolment string, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE servers SET enrolment = ?, updated_at = ? WHERE id = ?`, enrolment, millis(now), id)
	return err
}

// SetServerState writes the state that the server shows.
func (q *Queries) SetServerState(ctx context.Context, id int64, state string, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE servers SET state = ?, updated_at = ? WHERE id = ?`, state, millis(now), id)
	return err
}

// DeleteServer removes a server with its inputs and tokens; its instances and
// audit entries stay, without a server.
func (q *Queries) DeleteServer(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM servers WHERE id = ?`, id)
	return err
}
