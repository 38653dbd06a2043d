// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// Image is a machine image that a cloud lists.
type Image struct {
	ID, CloudID        int64
	UID                string // the opaque id in hrefs
	ResourceUID        string // ami-…
	Name               string
	Description        string
	OSPlatform         string
	CPUArchitecture    string
	Visibility         string // private or public
	VirtualizationType string
	ImageType          string // machine
	CreatedAt          time.Time
	UpdatedAt          time.Time
	GoneAt             time.Time
}

// PutImage stores what a cloud says of an image; a known one keeps its UID.
func (q *Queries) PutImage(ctx context.Context, i Image, now time.Time) error {
	_, err := q.exec(ctx, `INSERT INTO images (cloud_id, uid, resource_uid, name, description, os_platform, cpu_architecture, visibility, virtualization_type,
		image_type, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (cloud_id, resource_uid) DO UPDATE SET name = excluded.name, description = excluded.description, os_platform = excluded.os_platform,
		cpu_architecture = excluded.cpu_architecture, visibility = excluded.visibility, virtualization_type = excluded.virtualization_type,
		image_type = excluded.image_type, updated_at = excluded.updated_at, gone_at = 0`,
		i.CloudID, i.UID, i.ResourceUID, i.Name, i.Description, i.OSPlatform, i.CPUArchitecture, i.Visibility, i.VirtualizationType,
		i.ImageType, millis(now), millis(now))
	return err
}

// SetImageGone notes that the cloud does not list an image any more.
func (q *Queries) SetImageGone(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE images SET gone_at = ?, updated_at = ? WHERE id = ?`, millis(now), millis(now), id)
	return err
}

const imageColumns = `SELECT id, cloud_id, uid, resource_uid, name, description, os_platform, cpu_architecture, visibility, virtualization_type, image_type,
	created_at, updated_at, gone_at FROM images `

func scanImage(row scanner) (i Image, err error) {
	err = row.Scan(&i.ID, &i.CloudID, &i.UID, &i.ResourceUID, &i.Name, &i.Description, &i.OSPlatform, &i.CPUArchitecture, &i.Visibility, &i.VirtualizationType,
		&i.ImageType, stamp{&i.CreatedAt}, stamp{&i.UpdatedAt}, stamp{&i.GoneAt})
	return i, err
}

// Images lists the images of a cloud by name; with gone, also those that the
// cloud does not list any more.
func (q *Queries) Images(ctx context.Context, cloudID int64, gone bool) ([]Image, error) {
	return listed(ctx, q, scanImage, imageColumns+`WHERE cloud_id = ? AND (gone_at = 0 OR ? = 1) ORDER BY name, id`, cloudID, flag(gone))
}

// Image finds an image of a cloud by the opaque id of its href or by the
// cloud's own id.
func (q *Queries) Image(ctx context.Context, cloudID int64, uid string) (Image, error) {
	i, err := scanImage(q.row(ctx, imageColumns+`WHERE cloud_id = ? AND (uid = ? OR resource_uid = ?)`, cloudID, uid, uid))
	return i, one("image", uid, err)
}

// ImagesInUse lists the cloud's ids of images that instances which live, servers
// and MultiCloudImages name in a cloud.
func (q *Queries) ImagesInUse(ctx context.Context, cloudID int64) (list []string, err error) {
	err = q.each(ctx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		list = append(list, id)
		return err
	}, `SELECT image_uid FROM instances WHERE seen_cloud_id = ? AND ended_at = 0 AND image_uid <> '' UNION
		SELECT image_uid FROM servers WHERE cloud_id = ? AND image_uid <> '' UNION
		SELECT image_uid FROM mci_settings WHERE cloud_id = ? AND image_uid <> ''`, cloudID, cloudID, cloudID)
	return list, err
}

// Kinds of cloud resources.
const (
	KindDatacenter    = "datacenter"
	KindInstanceType  = "instance_type"
	KindSubnet        = "subnet"
	KindSecurityGroup = "security_group"
	KindSSHKey        = "ssh_key"
)

// CloudResource is something that a launch can name: an instance type, a
// subnet, a security group, an SSH key, a datacenter.
type CloudResource struct {
	ID, CloudID int64
	Kind        string
	UID         string // the opaque id in hrefs
	ResourceUID string // the cloud's own: t3.small, subnet-…, sg-…, the key's name
	Name        string
	// Attributes are what the kind has besides: cpu_count, memory (MB),
	// cpu_architecture of instance types; vpc_uid, cidr_block, datacenter of subnets.
	Attributes map[string]string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	GoneAt     time.Time
}

// PutCloudResource stores what a cloud says of a resource; a known one keeps
// its UID.
func (q *Queries) PutCloudResource(ctx context.Context, r CloudResource, now time.Time) error {
	attributes, err := json.Marshal(r.Attributes)
	if err != nil {
		return err
	}
	_, err = q.exec(ctx, `INSERT INTO cloud_resources (cloud_id, kind, uid, resource_uid, name, attributes, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (cloud_id, kind, resource_uid) DO UPDATE SET name = excluded.name, attributes = excluded.attributes, updated_at = excluded.updated_at, gone_at = 0`,
		r.CloudID, r.Kind, r.UID, r.ResourceUID, r.Name, string(attributes), millis(now), millis(now))
	return err
}

// SetCloudResourceGone notes that the cloud does not list a resource any more.
func (q *Queries) SetCloudResourceGone(ctx context.Context, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE cloud_resources SET gone_at = ?, updated_at = ? WHERE id = ?`, millis(now), millis(now), id)
	return err
}

const resourceColumns = `SELECT id, cloud_id, kind, uid, resource_uid, name, attributes, created_at, updated_at, gone_at FROM cloud_resources `

func scanResource(row scanner) (r CloudResource, err error) {
	var attributes string
	if err = row.Scan(&r.ID, &r.CloudID, &r.Kind, &r.UID, &r.ResourceUID, &r.Name, &attributes, stamp{&r.CreatedAt}, stamp{&r.UpdatedAt}, stamp{&r.GoneAt}); err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(attributes), &r.Attributes)
}

// CloudResources lists the resources of a kind that a cloud has, by name; with
// gone, also those that it has no more.
func (q *Queries) CloudResources(ctx context.Context, cloudID int64, kind string, gone bool) ([]CloudResource, error) {
	return listed(ctx, q, scanResource, resourceColumns+`WHERE cloud_id = ? AND kind = ? AND (gone_at = 0 OR ? = 1) ORDER BY name, id`, cloudID, kind, flag(gone))
}

// CloudResource finds a resource of a cloud by the opaque id of its href or by
// the cloud's own id.
func (q *Queries) CloudResource(ctx context.Context, cloudID int64, kind, uid string) (CloudResource, error) {
	r, err := scanResource(q.row(ctx, resourceColumns+`WHERE cloud_id = ? AND kind = ? AND (uid = ? OR resource_uid = ?)`, cloudID, kind, uid, uid))
	return r, one(kind, uid, err)
}
