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

// AddEvent stores an event and tells whoever listens to TopicEvents.
func (q *Queries) AddEvent(ctx context.Context, e Event, now time.Time) (int64, error) {
	if err := q.notifyID(ctx, TopicEvents, e.InstanceID); err != nil {
		return 0, err
	}
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

// EventsAfter tells the instances that events with ids above after wait for, by
// the ids of the events.
func (q *Queries) EventsAfter(ctx context.Context, after int64) (map[int64]int64, error) {
	instances := map[int64]int64{}
	err := q.each(ctx, func(rows *sql.Rows) error {
		var id, instance int64
		err := rows.Scan(&id, &instance)
		instances[id] = instance
		return err
	}, `SELECT id, instance_id FROM events WHERE id > ?`, after)
	return instances, err
}
