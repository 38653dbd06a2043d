// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// Event is something that waits for the agent of an instance.
type Event struct {
	ID, InstanceID int64
	UUID           string
	Path           string
	Detail         json.RawMessage
	CreatedAt      time.Time
	ExpiresAt      time.Time
}

// AddEvent stores an event.
func (q *Queries) AddEvent(ctx context.Context, e Event, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO events (uuid, instance_id, path, detail, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id`,
		e.UUID, e.InstanceID, e.Path, string(e.Detail), millis(now), millis(e.ExpiresAt))
}

// DeleteEvent forgets an event of an instance; one that is gone is no error.
func (q *Queries) DeleteEvent(ctx context.Context, instanceID int64, uuid string) error {
	_, err := q.exec(ctx, `DELETE FROM events WHERE instance_id = ? AND uuid = ?`, instanceID, uuid)
	return err
}

const eventColumns = `SELECT id, uuid, instance_id, path, detail, created_at, expires_at FROM events `

func (q *Queries) events(ctx context.Context, where string, args ...any) (list []Event, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var e Event
		var detail string
		err := rows.Scan(&e.ID, &e.UUID, &e.InstanceID, &e.Path, &detail, stamp{&e.CreatedAt}, stamp{&e.ExpiresAt})
		e.Detail = json.RawMessage(detail)
		list = append(list, e)
		return err
	}, eventColumns+where, args...)
	return list, err
}

// Events lists what waits for an instance, oldest first.
func (q *Queries) Events(ctx context.Context, instanceID int64, now time.Time) ([]Event, error) {
	return q.events(ctx, `WHERE instance_id = ? AND expires_at > ? ORDER BY id`, instanceID, millis(now))
}

// ExpiredEvents lists what was not taken in time.
func (q *Queries) ExpiredEvents(ctx context.Context, now time.Time) ([]Event, error) {
	return q.events(ctx, `WHERE expires_at <= ? ORDER BY id`, millis(now))
}

// EventsAfter tells the instances that have got events with ids above after,
// and the highest id there is.
func (q *Queries) EventsAfter(ctx context.Context, after int64) (instances []int64, last int64, err error) {
	last = after
	err = q.each(ctx, func(rows *sql.Rows) error {
		var instance, id int64
		err := rows.Scan(&instance, &id)
		instances, last = append(instances, instance), max(last, id)
		return err
	}, `SELECT instance_id, MAX(id) FROM events WHERE id > ? GROUP BY instance_id`, after)
	return instances, last, err
}
