// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"encoding/json"
	"time"
)

// Kinds of machine jobs.
const (
	JobLaunch    = "launch"
	JobStop      = "stop"
	JobStart     = "start"
	JobTerminate = "terminate"
)

// Outcomes of machine jobs.
const (
	JobDone     = "done"
	JobFailed   = "failed"
	JobReplaced = "replaced"
)

// MachineJob is something that is to happen to a machine of a cloud, with how
// far it has come.
type MachineJob struct {
	ID, AccountID int64
	CloudID       int64
	InstanceID    int64
	Kind          string
	Step          string
	Detail        json.RawMessage // see package launch
	Sealed        []byte
	By            string
	Attempts      int
	LastError     string
	CreatedAt     time.Time
	StepAt        time.Time // when the step began
	DueAt         time.Time
	LeasedBy      string
	LeasedTo      time.Time
	DoneAt        time.Time
	Outcome       string
}

// CreateMachineJob stores a job that is due now, or at DueAt if that is later.
// There is at most one for an instance that is not done.
func (q *Queries) CreateMachineJob(ctx context.Context, j MachineJob, now time.Time) (int64, error) {
	due := now
	if j.DueAt.After(now) {
		due = j.DueAt
	}
	return q.insert(ctx, `INSERT INTO machine_jobs (account_id, cloud_id, instance_id, kind, step, detail, sealed, by_whom, created_at, step_at, due_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		j.AccountID, j.CloudID, j.InstanceID, j.Kind, j.Step, string(j.Detail), nonNilBytes(j.Sealed), j.By, millis(now), millis(now), millis(due))
}

const jobColumns = `SELECT id, account_id, cloud_id, instance_id, kind, step, detail, sealed, by_whom, attempts, last_error, created_at, step_at, due_at,
	leased_by, leased_to, done_at, outcome FROM machine_jobs `

func scanJob(row scanner) (j MachineJob, err error) {
	var detail string
	err = row.Scan(&j.ID, &j.AccountID, &j.CloudID, &j.InstanceID, &j.Kind, &j.Step, &detail, &j.Sealed, &j.By, &j.Attempts, &j.LastError, stamp{&j.CreatedAt},
		stamp{&j.StepAt}, stamp{&j.DueAt}, &j.LeasedBy, stamp{&j.LeasedTo}, stamp{&j.DoneAt}, &j.Outcome)
	j.Detail = json.RawMessage(detail)
	return j, err
}

// MachineJob finds a job by id.
func (q *Queries) MachineJob(ctx context.Context, id int64) (MachineJob, error) {
	j, err := scanJob(q.row(ctx, jobColumns+`WHERE id = ?`, id))
	return j, one("job", id, err)
}

// ActiveJob finds the job of an instance that is not done.
func (q *Queries) ActiveJob(ctx context.Context, instanceID int64) (MachineJob, error) {
	j, err := scanJob(q.row(ctx, jobColumns+`WHERE instance_id = ? AND done_at = 0`, instanceID))
	return j, one("job of instance", instanceID, err)
}

// LatestMachineJob finds the newest job of an instance, done or not.
func (q *Queries) LatestMachineJob(ctx context.Context, instanceID int64) (MachineJob, error) {
	j, err := scanJob(q.row(ctx, jobColumns+`WHERE instance_id = ? ORDER BY id DESC LIMIT 1`, instanceID))
	return j, one("job of instance", instanceID, err)
}

// ActiveJobs counts the jobs of a cloud that are not done.
func (q *Queries) ActiveJobs(ctx context.Context, cloudID int64) (n int, err error) {
	err = q.row(ctx, `SELECT COUNT(*) FROM machine_jobs WHERE cloud_id = ? AND done_at = 0`, cloudID).Scan(&n)
	return n, err
}

// Leftovers lists the machines that this platform has launched and that have
// ended in its books, but not in the cloud, and that no job has ended. The cloud
// itself must have named them: an agent can say anything.
func (q *Queries) Leftovers(ctx context.Context) ([]Instance, error) {
	return q.instances(ctx, `WHERE ended_at > 0 AND client_token <> '' AND resource_uid <> '' AND seen_cloud_id > 0 AND gone_at = 0
		AND cloud_state NOT IN ('terminated', 'shutting-down')
		AND NOT EXISTS (SELECT 1 FROM machine_jobs j WHERE j.instance_id = instances.id AND j.kind = 'terminate') ORDER BY id`)
}

// DueJobs lists jobs that can be worked on, the longest due first.
func (q *Queries) DueJobs(ctx context.Context, limit int, now time.Time) ([]MachineJob, error) {
	return listed(ctx, q, scanJob, jobColumns+`WHERE done_at = 0 AND due_at <= ? AND leased_to <= ? ORDER BY due_at, id LIMIT ?`, millis(now), millis(now), limit)
}

// LeaseJob takes a job for a while; false when somebody else has it or it is
// done. Whoever holds the lease alone works on the job.
func (q *Queries) LeaseJob(ctx context.Context, id int64, holder string, until, now time.Time) (bool, error) {
	n, err := q.exec(ctx, `UPDATE machine_jobs SET leased_by = ?, leased_to = ? WHERE id = ? AND done_at = 0 AND leased_to <= ?`, holder, millis(until), id, millis(now))
	return n == 1, err
}

// SaveJob writes how far a job has come and gives the lease back; false when
// the lease was lost, and nothing is written.
func (q *Queries) SaveJob(ctx context.Context, j MachineJob) (bool, error) {
	n, err := q.exec(ctx, `UPDATE machine_jobs SET step = ?, detail = ?, sealed = ?, attempts = ?, last_error = ?, step_at = ?, due_at = ?,
		leased_by = '', leased_to = 0, done_at = ?, outcome = ? WHERE id = ? AND leased_by = ? AND done_at = 0`,
		j.Step, string(j.Detail), nonNilBytes(j.Sealed), j.Attempts, j.LastError, millis(j.StepAt), millis(j.DueAt), millis(j.DoneAt), j.Outcome, j.ID, j.LeasedBy)
	return n == 1, err
}

// ReplaceJob ends a job that another one takes the place of. Whoever holds its
// lease finds it lost.
func (q *Queries) ReplaceJob(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE machine_jobs SET done_at = ?, outcome = ?, sealed = ?, leased_by = '' WHERE id = ? AND done_at = 0`, millis(now), JobReplaced, []byte{}, id)
	return err
}

// WakeJob makes the job of an instance due now; there may be none.
func (q *Queries) WakeJob(ctx context.Context, instanceID int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE machine_jobs SET due_at = ? WHERE instance_id = ? AND done_at = 0 AND due_at > ?`, millis(now), instanceID, millis(now))
	return err
}
