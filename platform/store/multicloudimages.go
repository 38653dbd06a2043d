// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"fmt"
	"time"
)

// MultiCloudImage names the same image in several clouds.
type MultiCloudImage struct {
	ID, AccountID int64
	Name          string
	Description   string
	Revision      int   // 0 is HEAD
	LineageID     int64 // the HEAD that a revision was committed of, 0 for a HEAD
	CommitMessage string
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// MCISetting is what a MultiCloudImage means in one cloud. ImageUID and
// InstanceType are the cloud's own names.
type MCISetting struct {
	ID, MCIID    int64
	CloudID      int64
	ImageUID     string // ami-…
	InstanceType string // t3.small; empty for the cloud's default
	UserData     string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// TemplateImage says that a ServerTemplate can run on a MultiCloudImage.
type TemplateImage struct {
	ID         int64
	TemplateID int64
	MCIID      int64
	Default    bool
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// CreateMultiCloudImage stores an image and returns its id.
func (q *Queries) CreateMultiCloudImage(ctx context.Context, m MultiCloudImage, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO multi_cloud_images (account_id, name, description, revision, lineage_id, commit_message, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`, m.AccountID, m.Name, m.Description, m.Revision, m.LineageID, m.CommitMessage, millis(now), millis(now))
}

// UpdateMultiCloudImage writes name and description.
func (q *Queries) UpdateMultiCloudImage(ctx context.Context, m MultiCloudImage, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE multi_cloud_images SET name = ?, description = ?, updated_at = ? WHERE id = ?`, m.Name, m.Description, millis(now), m.ID)
	return err
}

const mciColumns = `SELECT id, account_id, name, description, revision, lineage_id, commit_message, created_at, updated_at FROM multi_cloud_images `

func scanMCI(row scanner) (m MultiCloudImage, err error) {
	err = row.Scan(&m.ID, &m.AccountID, &m.Name, &m.Description, &m.Revision, &m.LineageID, &m.CommitMessage, stamp{&m.CreatedAt}, stamp{&m.UpdatedAt})
	return m, err
}

// MultiCloudImage finds an image of an account by id.
func (q *Queries) MultiCloudImage(ctx context.Context, account, id int64) (MultiCloudImage, error) {
	m, err := scanMCI(q.row(ctx, mciColumns+`WHERE account_id = ? AND id = ?`, account, id))
	return m, one("MultiCloudImage", id, err)
}

// MultiCloudImageByName finds a HEAD revision by name.
func (q *Queries) MultiCloudImageByName(ctx context.Context, account int64, name string) (MultiCloudImage, error) {
	m, err := scanMCI(q.row(ctx, mciColumns+`WHERE account_id = ? AND name = ? AND revision = 0`, account, name))
	return m, one("MultiCloudImage", fmt.Sprintf("%q", name), err)
}

// MultiCloudImages lists the images of an account by name and revision.
func (q *Queries) MultiCloudImages(ctx context.Context, account int64) ([]MultiCloudImage, error) {
	return q.mcis(ctx, `WHERE account_id = ? ORDER BY name, revision`, account)
}

// MultiCloudImagesOf lists the images of a ServerTemplate, the default first.
func (q *Queries) MultiCloudImagesOf(ctx context.Context, templateID int64) ([]MultiCloudImage, error) {
	return q.mcis(ctx, `WHERE id IN (SELECT mci_id FROM st_multi_cloud_images WHERE server_template_id = ?)
		ORDER BY (SELECT is_default FROM st_multi_cloud_images s WHERE s.mci_id = multi_cloud_images.id AND s.server_template_id = ?) DESC, id`, templateID, templateID)
}

func (q *Queries) mcis(ctx context.Context, where string, args ...any) ([]MultiCloudImage, error) {
	return listed(ctx, q, scanMCI, mciColumns+where, args...)
}

// DeleteMultiCloudImage removes an image with its settings.
func (q *Queries) DeleteMultiCloudImage(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM multi_cloud_images WHERE id = ?`, id)
	return err
}

// CountUsesOfMCI counts the ServerTemplates and servers that name an image.
func (q *Queries) CountUsesOfMCI(ctx context.Context, id int64) (n int, err error) {
	err = q.row(ctx, `SELECT (SELECT COUNT(*) FROM st_multi_cloud_images WHERE mci_id = ?) + (SELECT COUNT(*) FROM servers WHERE mci_id = ?)`, id, id).Scan(&n)
	return n, err
}

// CreateMCISetting stores a setting and returns its id.
func (q *Queries) CreateMCISetting(ctx context.Context, s MCISetting, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO mci_settings (mci_id, cloud_id, image_uid, instance_type, user_data, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`, s.MCIID, s.CloudID, s.ImageUID, s.InstanceType, s.UserData, millis(now), millis(now))
}

// UpdateMCISetting writes what a setting says.
func (q *Queries) UpdateMCISetting(ctx context.Context, s MCISetting, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE mci_settings SET cloud_id = ?, image_uid = ?, instance_type = ?, user_data = ?, updated_at = ? WHERE id = ?`,
		s.CloudID, s.ImageUID, s.InstanceType, s.UserData, millis(now), s.ID)
	return err
}

const settingColumns = `SELECT id, mci_id, cloud_id, image_uid, instance_type, user_data, created_at, updated_at FROM mci_settings `

func scanMCISetting(row scanner) (s MCISetting, err error) {
	err = row.Scan(&s.ID, &s.MCIID, &s.CloudID, &s.ImageUID, &s.InstanceType, &s.UserData, stamp{&s.CreatedAt}, stamp{&s.UpdatedAt})
	return s, err
}

// MCISetting finds a setting of an image by id.
func (q *Queries) MCISetting(ctx context.Context, mciID, id int64) (MCISetting, error) {
	s, err := scanMCISetting(q.row(ctx, settingColumns+`WHERE mci_id = ? AND id = ?`, mciID, id))
	return s, one("MultiCloudImageSetting", id, err)
}

// MCISettings lists the settings of an image by cloud.
func (q *Queries) MCISettings(ctx context.Context, mciID int64) ([]MCISetting, error) {
	return listed(ctx, q, scanMCISetting, settingColumns+`WHERE mci_id = ? ORDER BY cloud_id`, mciID)
}

// DeleteMCISetting removes a setting.
func (q *Queries) DeleteMCISetting(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM mci_settings WHERE id = ?`, id)
	return err
}

// AddTemplateImage connects a ServerTemplate and an image.
func (q *Queries) AddTemplateImage(ctx context.Context, t TemplateImage, now time.Time) (int64, error) {
	return q.insert(ctx, `INSERT INTO st_multi_cloud_images (server_template_id, mci_id, is_default, created_at, updated_at) VALUES (?, ?, ?, ?, ?) RETURNING id`,
		t.TemplateID, t.MCIID, flag(t.Default), millis(now), millis(now))
}

// MakeDefaultImage makes one image the default of a ServerTemplate.
func (q *Queries) MakeDefaultImage(ctx context.Context, templateID, id int64, now time.Time) error {
	_, err := q.exec(ctx, `UPDATE st_multi_cloud_images SET is_default = CASE WHEN id = ? THEN 1 ELSE 0 END, updated_at = ? WHERE server_template_id = ?`, id, millis(now), templateID)
	return err
}

const templateImageColumns = `SELECT i.id, i.server_template_id, i.mci_id, i.is_default, i.created_at, i.updated_at
	FROM st_multi_cloud_images i JOIN server_templates t ON t.id = i.server_template_id `

func scanTemplateImage(row scanner) (t TemplateImage, err error) {
	var isDefault int
	err = row.Scan(&t.ID, &t.TemplateID, &t.MCIID, &isDefault, stamp{&t.CreatedAt}, stamp{&t.UpdatedAt})
	t.Default = isDefault != 0
	return t, err
}

// TemplateImage finds a connection of an account by id.
func (q *Queries) TemplateImage(ctx context.Context, account, id int64) (TemplateImage, error) {
	t, err := scanTemplateImage(q.row(ctx, templateImageColumns+`WHERE t.account_id = ? AND i.id = ?`, account, id))
	return t, one("ServerTemplateMultiCloudImage", id, err)
}

// TemplateImages lists the connections of an account; 0 selects all templates.
func (q *Queries) TemplateImages(ctx context.Context, account, templateID int64) ([]TemplateImage, error) {
	return listed(ctx, q, scanTemplateImage, templateImageColumns+`WHERE t.account_id = ? AND (i.server_template_id = ? OR ? = 0) ORDER BY i.server_template_id, i.is_default DESC, i.id`, account, templateID, templateID)
}

// DeleteTemplateImage takes an image off a ServerTemplate.
func (q *Queries) DeleteTemplateImage(ctx context.Context, id int64) error {
	_, err := q.exec(ctx, `DELETE FROM st_multi_cloud_images WHERE id = ?`, id)
	return err
}
