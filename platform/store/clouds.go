// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// DefaultCloud is the cloud that exists from the start. It has no region and no
// credentials; instances belong to it that nobody has placed.
const DefaultCloud int64 = 1

// Where the credentials of a cloud come from.
const (
	// CredentialsNone: the platform makes no calls to this cloud.
	CredentialsNone = "none"
	// CredentialsAmbient: from the environment of the process that makes the
	// call, as the AWS tools find them.
	CredentialsAmbient = "ambient"
	// CredentialsKeys: an access key, sealed in the database.
	CredentialsKeys = "keys"
)

// Cloud is one region of a provider, with what its calls are signed with.
type Cloud struct {
	ID, AccountID int64
	Name          string
	Description   string
	Type          string // amazon
	Region        string
	EndpointURL   string // empty for AWS's own
	Credentials   string // CredentialsNone, CredentialsAmbient or CredentialsKeys
	AccessKey     string
	Sealed        []byte // secret key and session token
	RoleARN       string
	ExternalID    string
	// CloudAccount is the account that the credentials belong to, as the cloud
	// says.
	CloudAccount string
	// Discover is the longest time between two listings; 0 for none.
	Discover time.Duration
	// DiscoveredAt and CataloguedAt are the ends of the last complete listings
	// of instances, and of images and the like.
	DiscoveredAt  time.Time
	CataloguedAt  time.Time
	DiscoverError string // why the last listing failed; empty when it did not
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// CreateCloud stores a new cloud and returns its id.
func (q *Queries) CreateCloud(ctx context.Context, c Cloud, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO clouds (account_id, name, description, cloud_type, region, endpoint_url, credentials, access_key, sealed,
		role_arn, external_id, cloud_account, discover_seconds, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		c.AccountID, c.Name, c.Description, c.Type, c.Region, c.EndpointURL, c.Credentials, c.AccessKey, nonNilBytes(c.Sealed),
		c.RoleARN, c.ExternalID, c.CloudAccount, int64(c.Discover/time.Second), millis(now), millis(now))
}

// UpdateCloud writes what an operator can change of a cloud.
func (q *Queries) UpdateCloud(ctx context.Context, c Cloud, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE clouds SET name = ?, description = ?, region = ?, endpoint_url = ?, credentials = ?, access_key = ?, sealed = ?,
		role_arn = ?, external_id = ?, cloud_account = ?, discover_seconds = ?, updated_at = ? WHERE id = ?`,
		c.Name, c.Description, c.Region, c.EndpointURL, c.Credentials, c.AccessKey, nonNilBytes(c.Sealed),
		c.RoleARN, c.ExternalID, c.CloudAccount, int64(c.Discover/time.Second), millis(now), c.ID)
	return err
}

// nonNilBytes keeps an absent value from being NULL.
func nonNilBytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

const cloudColumns = `SELECT id, account_id, name, description, cloud_type, region, endpoint_url, credentials, access_key, sealed, role_arn, external_id,
	cloud_account, discover_seconds, discovered_at, catalogued_at, discover_error, created_at, updated_at FROM clouds `

func scanCloud(row scanner) (c Cloud, err error) {
	var seconds int64
	err = row.Scan(&c.ID, &c.AccountID, &c.Name, &c.Description, &c.Type, &c.Region, &c.EndpointURL, &c.Credentials, &c.AccessKey, &c.Sealed, &c.RoleARN,
		&c.ExternalID, &c.CloudAccount, &seconds, stamp{&c.DiscoveredAt}, stamp{&c.CataloguedAt}, &c.DiscoverError, stamp{&c.CreatedAt}, stamp{&c.UpdatedAt})
	c.Discover = time.Duration(seconds) * time.Second
	return c, err
}

// Cloud finds a cloud by id.
func (q *Queries) Cloud(ctx context.Context, id int64) (Cloud, error) {
	c, err := scanCloud(q.row(ctx, cloudColumns+`WHERE id = ?`, id))
	return c, one("cloud", id, err)
}

// CloudByName finds a cloud by name.
func (q *Queries) CloudByName(ctx context.Context, account int64, name string) (Cloud, error) {
	c, err := scanCloud(q.row(ctx, cloudColumns+`WHERE account_id = ? AND name = ?`, account, name))
	return c, one("cloud", fmt.Sprintf("%q", name), err)
}

// Clouds lists the clouds of an account by id; account 0 means all accounts.
func (q *Queries) Clouds(ctx context.Context, account int64) ([]Cloud, error) {
	return listed(ctx, q, scanCloud, cloudColumns+`WHERE account_id = ? OR ? = 0 ORDER BY id`, account, account)
}

// SetDiscovered notes how a listing of instances ended: err is empty when it
// was complete.
func (q *Queries) SetDiscovered(ctx context.Context, id int64, problem string, now time.Time) error {
	if problem != "" {
		_, err := q.exec(ctx, `UPDATE clouds SET discover_error = ? WHERE id = ?`, problem, id)
		return err
	}
	_, err := q.exec(ctx, `UPDATE clouds SET discovered_at = ?, discover_error = '' WHERE id = ?`, millis(now), id)
	return err
}

// SetCatalogued notes that images and the like were listed completely.
func (q *Queries) SetCatalogued(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE clouds SET catalogued_at = ? WHERE id = ?`, millis(now), id)
	return err
}

// CloudUse counts what keeps a cloud from being removed.
type CloudUse struct {
	Servers   int // that are to be launched there
	Settings  int // of MultiCloudImages
	Instances int // that live and belong to a server, or have a job that is not done
}

// CloudUse counts what uses a cloud.
func (q *Queries) CloudUse(ctx context.Context, id int64) (u CloudUse, err error) {
	err = q.row(ctx, `SELECT (SELECT COUNT(*) FROM servers WHERE cloud_id = ?), (SELECT COUNT(*) FROM mci_settings WHERE cloud_id = ?),
		(SELECT COUNT(*) FROM instances i WHERE (i.cloud_id = ? OR i.seen_cloud_id = ?) AND i.ended_at = 0
			AND (i.server_id IS NOT NULL AND i.resource_uid <> '' OR EXISTS (SELECT 1 FROM machine_jobs j WHERE j.instance_id = i.id AND j.done_at = 0)))`,
		id, id, id, id).Scan(&u.Servers, &u.Settings, &u.Instances)
	return u, err
}

// DeleteCloud removes a cloud with its images and the instances that belong to
// no server. Instances of servers, which have ended, move to the default cloud.
func (q *Queries) DeleteCloud(ctx context.Context, id int64) error {
	for _, statement := range []string{
		`DELETE FROM machine_jobs WHERE cloud_id = ?`,
		`DELETE FROM instances WHERE cloud_id = ? AND server_id IS NULL AND declared_at = 0 AND NOT EXISTS (SELECT 1 FROM enrolment_tokens t WHERE t.instance_id = instances.id)`,
		`UPDATE instances SET cloud_id = 1 WHERE cloud_id = ?`,
		`UPDATE instances SET seen_cloud_id = 0 WHERE seen_cloud_id = ?`,
		`DELETE FROM clouds WHERE id = ?`,
	} {
		if _, err := q.exec(ctx, statement, id); err != nil {
			return fmt.Errorf("delete cloud: %w", err)
		}
	}
	return nil
}
