// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// ImagePatch changes a MultiCloudImage; nil fields stay.
type ImagePatch struct {
	Name        *string
	Description *string
}

func (p ImagePatch) apply(m *store.MultiCloudImage) error {
	set(&m.Name, p.Name)
	set(&m.Description, p.Description)
	return errors.Join(checkName("MultiCloudImage", m.Name), checkDescription("MultiCloudImage", m.Description))
}

// headImage finds a MultiCloudImage that may be changed.
func headImage(ctx context.Context, q *store.Queries, account, id int64) (store.MultiCloudImage, error) {
	m, err := q.MultiCloudImage(ctx, account, id)
	if err == nil && m.Revision != 0 {
		err = invalid("MultiCloudImage %q revision %d is committed; change its HEAD", m.Name, m.Revision)
	}
	return m, err
}

// CreateMultiCloudImage makes the HEAD of a MultiCloudImage without settings.
func (s *Service) CreateMultiCloudImage(ctx context.Context, by By, p ImagePatch) (id int64, err error) {
	m := store.MultiCloudImage{AccountID: by.Account}
	if err := p.apply(&m); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.MultiCloudImageByName(ctx, by.Account, m.Name)
		if err := unique("MultiCloudImage", m.Name, err); err != nil {
			return err
		}
		if id, err = q.CreateMultiCloudImage(ctx, m, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(id), "MultiCloudImage "+m.Name+" created")
	})
	return id, err
}

// UpdateMultiCloudImage changes the HEAD of a MultiCloudImage.
func (s *Service) UpdateMultiCloudImage(ctx context.Context, by By, id int64, p ImagePatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		m, err := headImage(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		old := m.Name
		if err := p.apply(&m); err != nil {
			return err
		}
		if m.Name != old {
			_, err := q.MultiCloudImageByName(ctx, by.Account, m.Name)
			if err := unique("MultiCloudImage", m.Name, err); err != nil {
				return err
			}
		}
		if err := q.UpdateMultiCloudImage(ctx, m, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(id), "MultiCloudImage "+m.Name+" changed")
	})
}

// CloneMultiCloudImage copies an image with its settings to a new HEAD.
func (s *Service) CloneMultiCloudImage(ctx context.Context, by By, id int64, p ImagePatch) (copied int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		m, err := q.MultiCloudImage(ctx, by.Account, id)
		if err != nil {
			return err
		}
		from := m.Name
		if err := p.apply(&m); err != nil {
			return err
		}
		m.Revision, m.LineageID, m.CommitMessage = 0, 0, ""
		_, err = q.MultiCloudImageByName(ctx, by.Account, m.Name)
		if err := unique("MultiCloudImage", m.Name, err); err != nil {
			return err
		}
		if copied, err = s.copyImage(ctx, q, id, m); err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(copied), "MultiCloudImage "+m.Name+" made as a copy of "+from)
	})
	return copied, err
}

// copyImage stores an image with the settings of another one.
func (s *Service) copyImage(ctx context.Context, q *store.Queries, from int64, m store.MultiCloudImage) (int64, error) {
	id, err := q.CreateMultiCloudImage(ctx, m, s.Now())
	if err != nil {
		return 0, err
	}
	settings, err := q.MCISettings(ctx, from)
	if err != nil {
		return 0, err
	}
	for _, setting := range settings {
		setting.MCIID = id
		if _, err := q.CreateMCISetting(ctx, setting, s.Now()); err != nil {
			return 0, err
		}
	}
	return id, nil
}

// CommitMultiCloudImage keeps the HEAD of an image as a revision that does not
// change any more.
func (s *Service) CommitMultiCloudImage(ctx context.Context, by By, id int64, message string) (revision int64, err error) {
	if err := checkDescription("commit", message); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		if _, err := headImage(ctx, q, by.Account, id); err != nil {
			return err
		}
		var err error
		revision, err = s.commitHeadImage(ctx, q, by, id, message)
		return err
	})
	return revision, err
}

// commitHeadImage commits an image if it is a HEAD, and returns the revision.
func (s *Service) commitHeadImage(ctx context.Context, q *store.Queries, by By, id int64, message string) (int64, error) {
	m, err := q.MultiCloudImage(ctx, by.Account, id)
	if err != nil || m.Revision != 0 {
		return id, err
	}
	last, err := q.LastRevision(ctx, store.TableMultiCloudImages, by.Account, m.Name)
	if err != nil {
		return 0, err
	}
	m.Revision, m.LineageID, m.CommitMessage = last+1, id, message
	revision, err := s.copyImage(ctx, q, id, m)
	if err != nil {
		return 0, err
	}
	return revision, s.changed(ctx, q, by, MultiCloudImageHref(revision), fmt.Sprintf("MultiCloudImage %s committed as revision %d", m.Name, m.Revision))
}

// DeleteMultiCloudImage removes an image that nothing names.
func (s *Service) DeleteMultiCloudImage(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		m, err := q.MultiCloudImage(ctx, by.Account, id)
		if err != nil {
			return err
		}
		n, err := q.CountUsesOfMCI(ctx, id)
		if err != nil {
			return err
		}
		if n > 0 {
			return invalid("MultiCloudImage %q is used by %d ServerTemplates or servers; take it out of them first", m.Name, n)
		}
		if err := q.DeleteMultiCloudImage(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(id), "MultiCloudImage "+m.Name+" deleted")
	})
}

// PutSetting creates what an image means in a cloud, or changes the one of its
// id.
func (s *Service) PutSetting(ctx context.Context, by By, set store.MCISetting) (id int64, err error) {
	if set.ImageUID == "" {
		return 0, invalid("image_href is missing: which image is it in that cloud?")
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		m, err := headImage(ctx, q, by.Account, set.MCIID)
		if err != nil {
			return err
		}
		if err := ownsCloud(ctx, q, by.Account, set.CloudID); err != nil {
			return err
		}
		have, err := q.MCISettings(ctx, set.MCIID)
		if err != nil {
			return err
		}
		for _, other := range have {
			if other.ID != set.ID && other.CloudID == set.CloudID {
				return invalid("MultiCloudImage %q has a setting for cloud %d already; change that one", m.Name, set.CloudID)
			}
		}
		if id = set.ID; id == 0 {
			id, err = q.CreateMCISetting(ctx, set, s.Now())
		} else {
			err = q.UpdateMCISetting(ctx, set, s.Now())
		}
		if err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(m.ID), fmt.Sprintf("MultiCloudImage %s is %s in cloud %d", m.Name, set.ImageUID, set.CloudID))
	})
	return id, err
}

// ownsCloud returns store.ErrNotFound for a cloud that is not of the account.
func ownsCloud(ctx context.Context, q *store.Queries, account, id int64) error {
	c, err := q.Cloud(ctx, id)
	if err == nil && c.AccountID != account {
		return fmt.Errorf("cloud %d: %w", id, store.ErrNotFound)
	}
	return err
}

// DeleteSetting removes what an image means in a cloud.
func (s *Service) DeleteSetting(ctx context.Context, by By, mciID, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		m, err := headImage(ctx, q, by.Account, mciID)
		if err != nil {
			return err
		}
		set, err := q.MCISetting(ctx, mciID, id)
		if err != nil {
			return err
		}
		if err := q.DeleteMCISetting(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, MultiCloudImageHref(m.ID), fmt.Sprintf("MultiCloudImage %s is nothing in cloud %d any more", m.Name, set.CloudID))
	})
}

// ConnectImage says that a ServerTemplate can run on an image; the first one is
// its default.
func (s *Service) ConnectImage(ctx context.Context, by By, templateID, mciID int64) (id int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, templateID)
		if err != nil {
			return err
		}
		m, err := q.MultiCloudImage(ctx, by.Account, mciID)
		if err != nil {
			return err
		}
		have, err := q.TemplateImages(ctx, by.Account, templateID)
		if err != nil {
			return err
		}
		for _, other := range have {
			if other.MCIID == mciID {
				return invalid("ServerTemplate %q has MultiCloudImage %q already", t.Name, m.Name)
			}
		}
		if id, err = q.AddTemplateImage(ctx, store.TemplateImage{TemplateID: templateID, MCIID: mciID, Default: len(have) == 0}, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(templateID), "MultiCloudImage "+m.Name+" added to ServerTemplate "+t.Name)
	})
	return id, err
}

// imageOfHead finds an image of a ServerTemplate that may be changed.
func imageOfHead(ctx context.Context, q *store.Queries, account, id int64) (i store.TemplateImage, t store.ServerTemplate, err error) {
	if i, err = q.TemplateImage(ctx, account, id); err != nil {
		return i, t, err
	}
	t, err = headTemplate(ctx, q, account, i.TemplateID)
	return i, t, err
}

// DisconnectImage takes an image off a ServerTemplate. The default one goes
// last.
func (s *Service) DisconnectImage(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		i, t, err := imageOfHead(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		have, err := q.TemplateImages(ctx, by.Account, i.TemplateID)
		if err != nil {
			return err
		}
		if i.Default && len(have) > 1 {
			return invalid("it is the default MultiCloudImage of ServerTemplate %q; make another one the default first", t.Name)
		}
		if err := q.DeleteTemplateImage(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(t.ID), "a MultiCloudImage taken off ServerTemplate "+t.Name)
	})
}

// MakeDefaultImage makes an image the default of its ServerTemplate.
func (s *Service) MakeDefaultImage(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		i, t, err := imageOfHead(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		if err := q.MakeDefaultImage(ctx, i.TemplateID, id, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(t.ID), "default MultiCloudImage of ServerTemplate "+t.Name+" changed")
	})
}
