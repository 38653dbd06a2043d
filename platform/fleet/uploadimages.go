// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// putImages makes the MultiCloudImages of a file and connects them with its
// ServerTemplate in their order, the first one as default. A file that names
// none leaves the ServerTemplate those that it has.
func (s *Service) putImages(ctx context.Context, q *store.Queries, by By, templateID int64, t *servertemplate.Template) error {
	if len(t.Images) == 0 {
		return nil
	}
	var ids []int64
	for _, i := range t.Images {
		id, err := s.putImage(ctx, q, by, t, i)
		if err != nil {
			return servertemplate.Problems{{File: t.Path, Line: i.Line, Text: "MultiCloudImages: " + err.Error()}}
		}
		if slices.Contains(ids, id) {
			return servertemplate.Problems{{File: t.Path, Line: i.Line, Text: "MultiCloudImages: the image is given twice"}}
		}
		ids = append(ids, id)
	}
	return s.connectImages(ctx, q, by, templateID, ids)
}

var mciHref = regexp.MustCompile(`^/api/multi_cloud_images/(\d{1,18})$`)

// putImage finds an image of the account, or stores the one that is written
// out.
func (s *Service) putImage(ctx context.Context, q *store.Queries, by By, t *servertemplate.Template, i servertemplate.Image) (int64, error) {
	switch {
	case i.Href != "":
		m := mciHref.FindStringSubmatch(i.Href)
		if m == nil {
			return 0, invalid("Href: %q: want /api/multi_cloud_images/ID", clip(i.Href, 80))
		}
		id, _ := strconv.ParseInt(m[1], 10, 64)
		mci, err := q.MultiCloudImage(ctx, by.Account, id)
		return mci.ID, err
	case !i.Full:
		all, err := q.MultiCloudImages(ctx, by.Account)
		at := slices.IndexFunc(all, func(m store.MultiCloudImage) bool { return m.Name == i.Name && m.Revision == i.Revision })
		if err == nil && at < 0 {
			err = fmt.Errorf("%q, revision %d: %w in the account; write it out with Tags and Settings, or make it first", i.Name, i.Revision, store.ErrNotFound)
		}
		if err != nil {
			return 0, err
		}
		return all[at].ID, nil
	}
	id, err := s.putImageRow(ctx, q, by, i)
	if err != nil {
		return 0, err
	}
	if err := s.putImageTags(ctx, q, by, id, i.Tags); err != nil {
		return 0, err
	}
	return id, s.putSettings(ctx, q, by, id, t, i)
}

// putImageRow creates the HEAD of an image, or changes the one of its name.
func (s *Service) putImageRow(ctx context.Context, q *store.Queries, by By, i servertemplate.Image) (int64, error) {
	m, err := q.MultiCloudImageByName(ctx, by.Account, i.Name)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	was := m
	m.AccountID = by.Account
	if err := (ImagePatch{Name: &i.Name, Description: &i.Description}).apply(&m); err != nil {
		return 0, err
	}
	switch {
	case !known:
		if m.ID, err = q.CreateMultiCloudImage(ctx, m, s.Now()); err != nil {
			return 0, err
		}
		return m.ID, s.changed(ctx, q, by, MultiCloudImageHref(m.ID), "MultiCloudImage "+m.Name+" created")
	case m != was:
		if err := q.UpdateMultiCloudImage(ctx, m, s.Now()); err != nil {
			return 0, err
		}
		return m.ID, s.changed(ctx, q, by, MultiCloudImageHref(m.ID), "MultiCloudImage "+m.Name+" changed")
	}
	return m.ID, nil
}

// putImageTags gives an image exactly the tags of the file.
func (s *Service) putImageTags(ctx context.Context, q *store.Queries, by By, id int64, tags []string) error {
	if len(tags) > 0 {
		if err := checkTags(tags); err != nil {
			return err
		}
	}
	href := MultiCloudImageHref(id)
	rows, err := q.Tags(ctx, by.Account, href)
	if err != nil {
		return err
	}
	var have, more, fewer []string
	for _, row := range rows {
		have = append(have, row.Name)
		if !slices.Contains(tags, row.Name) {
			fewer = append(fewer, row.Name)
		}
	}
	for _, tag := range tags {
		if !slices.Contains(have, tag) {
			more = append(more, tag)
		}
	}
	for _, change := range []struct {
		tags   []string
		remove bool
	}{{fewer, true}, {more, false}} {
		if len(change.tags) == 0 {
			continue
		}
		if err := changeTags(ctx, q, by.Account, []string{href}, change.tags, change.remove); err != nil {
			return err
		}
		if err := s.changed(ctx, q, by, href, tagNote(change.tags, change.remove)); err != nil {
			return err
		}
	}
	return nil
}

// putSettings writes what an image means in each cloud. A cloud that is not
// known yet is a warning: the file serves platforms with other clouds too. What
// the image means in clouds that the file does not name stays.
func (s *Service) putSettings(ctx context.Context, q *store.Queries, by By, id int64, t *servertemplate.Template, i servertemplate.Image) error {
	have, err := q.MCISettings(ctx, id)
	if err != nil {
		return err
	}
	given := map[int64]bool{}
	for _, set := range i.Settings {
		cloud, err := q.CloudByName(ctx, by.Account, set.Cloud)
		if errors.Is(err, store.ErrNotFound) {
			t.Warnings = append(t.Warnings, servertemplate.Problem{File: t.Path, Line: set.Line,
				Text: fmt.Sprintf("MultiCloudImages: Settings: there is no cloud %q; upload again when there is", set.Cloud)})
			continue
		}
		if err != nil {
			return err
		}
		if given[cloud.ID] {
			return invalid("%q has two settings for cloud %q", i.Name, cloud.Name)
		}
		given[cloud.ID] = true
		want := store.MCISetting{MCIID: id, CloudID: cloud.ID, InstanceType: set.InstanceType, UserData: set.UserData}
		if want.ImageUID, err = imageNamed(ctx, q, cloud.ID, set.Image); err != nil {
			return err
		}
		if err := s.putSetting(ctx, q, by, i.Name, have, want); err != nil {
			return err
		}
	}
	return nil
}

// imageNamed is the cloud's own id of an image of its catalogue. One that is not
// in there is taken at its word.
func imageNamed(ctx context.Context, q *store.Queries, cloudID int64, name string) (string, error) {
	all, err := q.Images(ctx, cloudID, false)
	for _, i := range all {
		if i.Name == name && name != i.ResourceUID {
			return i.ResourceUID, nil
		}
	}
	return name, err
}

// putSetting stores what differs from the settings that an image has.
func (s *Service) putSetting(ctx context.Context, q *store.Queries, by By, name string, have []store.MCISetting, want store.MCISetting) (err error) {
	at := slices.IndexFunc(have, func(h store.MCISetting) bool { return h.CloudID == want.CloudID })
	switch {
	case at < 0:
		_, err = q.CreateMCISetting(ctx, want, s.Now())
	case have[at].ImageUID == want.ImageUID && have[at].InstanceType == want.InstanceType && have[at].UserData == want.UserData:
		return nil
	default:
		want.ID = have[at].ID
		err = q.UpdateMCISetting(ctx, want, s.Now())
	}
	if err != nil {
		return err
	}
	return s.changed(ctx, q, by, MultiCloudImageHref(want.MCIID), fmt.Sprintf("MultiCloudImage %s is %s in cloud %d", name, want.ImageUID, want.CloudID))
}

// connectImages gives a ServerTemplate exactly those images, the first one as
// default.
func (s *Service) connectImages(ctx context.Context, q *store.Queries, by By, templateID int64, ids []int64) error {
	have, err := q.TemplateImages(ctx, by.Account, templateID)
	if err != nil {
		return err
	}
	connected, changes := map[int64]store.TemplateImage{}, 0
	for _, h := range have {
		if slices.Contains(ids, h.MCIID) {
			connected[h.MCIID] = h
			continue
		}
		changes++
		if err := q.DeleteTemplateImage(ctx, h.ID); err != nil {
			return err
		}
	}
	for n, id := range ids {
		c, ok := connected[id]
		if !ok {
			changes++
			if c.ID, err = q.AddTemplateImage(ctx, store.TemplateImage{TemplateID: templateID, MCIID: id}, s.Now()); err != nil {
				return err
			}
		}
		if n == 0 && !c.Default {
			changes++
			if err := q.MakeDefaultImage(ctx, templateID, c.ID, s.Now()); err != nil {
				return err
			}
		}
	}
	if changes == 0 {
		return nil
	}
	return s.changed(ctx, q, by, ServerTemplateHref(templateID), fmt.Sprintf("MultiCloudImages of ServerTemplate %d set: %d, the first one is the default", templateID, len(ids)))
}
