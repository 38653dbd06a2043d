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
	CreatedAt        time.Time
	UpdatedAt        time.Time
}

// CreateServer stores a new server with its inputs and returns its id.
func (q *Queries) CreateServer(ctx context.Context, s Server, inputs map[string]rightscript.Value, now time.Time) (int64, error) {
	id, err := q.insert(ctx, `INSERT INTO servers (account_id, name, description, server_template_id, rightlink_version, user_data, state, enrolment, allow, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		s.AccountID, s.Name, s.Description, s.TemplateID, s.RightLinkVersion, s.UserData, s.State, s.Enrolment, string(s.Allow), millis(now), millis(now))
	if err != nil {
		return 0, err
	}
	for name, value := range inputs {
		if _, err := q.exec(ctx, `INSERT INTO server_inputs (server_id, name, value) VALUES (?, ?, ?)`, id, name, value.String()); err != nil {
			return 0, fmt.Errorf("store input %s: %w", name, err)
		}
	}
	return id, nil
}

const serverColumns = `SELECT id, account_id, name, description, server_template_id, rightlink_version, user_data, state, enrolment, allow, created_at, updated_at FROM servers `

func scanServer(row scanner) (s Server, err error) {
	var allow string
	err = row.Scan(&s.ID, &s.AccountID, &s.Name, &s.Description, &s.TemplateID, &s.RightLinkVersion, &s.UserData, &s.State, &s.Enrolment, &allow,
		stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
	s.Allow = json.RawMessage(allow)
	return s, err
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
func (q *Queries) Servers(ctx context.Context, account int64) (list []Server, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		s, err := scanServer(rows)
		list = append(list, s)
		return err
	}, serverColumns+`WHERE account_id = ? ORDER BY name`, account)
	return list, err
}

// ServerInputs returns the values set on a server itself.
func (q *Queries) ServerInputs(ctx context.Context, serverID int64) (map[string]rightscript.Value, error) {
	inputs := map[string]rightscript.Value{}
	err := q.each(ctx, func(rows *sql.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		v, err := rightscript.ParseValue(value)
		inputs[name] = v
		return err
	}, `SELECT name, value FROM server_inputs WHERE server_id = ?`, serverID)
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
