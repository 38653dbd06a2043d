// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func mciResource(m store.MultiCloudImage) resource {
	href := fleet.MultiCloudImageHref(m.ID)
	actions := []string{"clone"}
	if m.Revision == 0 {
		actions = append(actions, "commit")
	}
	return object(resource{"id": itoa64(m.ID), "name": m.Name, "description": m.Description, "revision": m.Revision},
		[]wire.Link{link("self", href), link("settings", href+"/settings"), link("matchers", href+"/matchers")}, actions...)
}

func (c *call) mciIndex(all []store.MultiCloudImage, err error) (reply, error) {
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, m := range all {
		list[i] = mciResource(m)
	}
	return c.index("multi_cloud_image", list, "name", "description", "revision")
}

func (c *call) mcis() (reply, error) {
	return c.mciIndex(c.fleet.DB.MultiCloudImages(c.ctx(), c.who.AccountID))
}

func (c *call) templateMCIs() (reply, error) {
	t, err := c.theTemplate()
	if err != nil {
		return reply{}, err
	}
	return c.mciIndex(c.fleet.DB.MultiCloudImagesOf(c.ctx(), t.ID))
}

// theMCI finds the image of the path.
func (c *call) theMCI() (m store.MultiCloudImage, err error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return m, err
	}
	return c.fleet.DB.MultiCloudImage(c.ctx(), c.who.AccountID, id)
}

func (c *call) mci() (reply, error) {
	m, err := c.theMCI()
	if err != nil {
		return reply{}, err
	}
	return shown("multi_cloud_image", mciResource(m))
}

func mciPatch(p *params) fleet.ImagePatch {
	return fleet.ImagePatch{Name: p.opt("name"), Description: p.opt("description")}
}

func (c *call) createMCI() (reply, error) {
	p := c.p.sub("multi_cloud_image")
	p.need("name")
	patch := mciPatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CreateMultiCloudImage(c.ctx(), c.by(), patch)
	return created(fleet.MultiCloudImageHref(id), err)
}

func (c *call) updateMCI() (reply, error) {
	patch, id := mciPatch(c.p.sub("multi_cloud_image")), c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.UpdateMultiCloudImage(c.ctx(), c.by(), id, patch))
}

func (c *call) deleteMCI() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteMultiCloudImage(c.ctx(), c.by(), id))
}

func (c *call) cloneMCI() (reply, error) {
	p, from := c.p.sub("multi_cloud_image"), c.id("id")
	p.need("name")
	patch := mciPatch(p)
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.CloneMultiCloudImage(c.ctx(), c.by(), from, patch)
	return created(fleet.MultiCloudImageHref(id), err)
}

func (c *call) commitMCI() (reply, error) {
	id, message := c.id("id"), c.p.need("commit_message")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	revision, err := c.fleet.CommitMultiCloudImage(c.ctx(), c.by(), id, message)
	return created(fleet.MultiCloudImageHref(revision), err)
}

// Settings: what an image means in a cloud.

func cloudHref(id int64) string { return "/api/clouds/" + itoa64(id) }

// imageHref is the href of an image by the cloud's own id; the catalogue may
// not know it.
func (c *call) imageHref(cloudID int64, uid string) (string, error) {
	return c.resourceHref(cloudID, "images", uid, func() (string, error) {
		i, err := c.fleet.DB.Image(c.ctx(), cloudID, uid)
		return i.UID, err
	})
}

func (c *call) typeHref(cloudID int64, name string) (string, error) {
	return c.resourceHref(cloudID, "instance_types", name, func() (string, error) {
		r, err := c.fleet.DB.CloudResource(c.ctx(), cloudID, store.KindInstanceType, name)
		return r.UID, err
	})
}

func (c *call) resourceHref(cloudID int64, kind, own string, look func() (string, error)) (string, error) {
	uid, err := look()
	if errors.Is(err, store.ErrNotFound) {
		uid, err = own, nil
	}
	return fmt.Sprintf("%s/%s/%s", cloudHref(cloudID), kind, uid), err
}

func (c *call) settingResource(set store.MCISetting) (resource, error) {
	mci := fleet.MultiCloudImageHref(set.MCIID)
	image, err := c.imageHref(set.CloudID, set.ImageUID)
	if err != nil {
		return nil, err
	}
	links := []wire.Link{link("self", fmt.Sprintf("%s/settings/%d", mci, set.ID)), link("image", image), link("cloud", cloudHref(set.CloudID)), link("multi_cloud_image", mci)}
	if set.InstanceType != "" {
		href, err := c.typeHref(set.CloudID, set.InstanceType)
		if err != nil {
			return nil, err
		}
		links = append(links, link("instance_type", href))
	}
	return object(resource{"user_data": set.UserData}, links), nil
}

func (c *call) settings() (reply, error) {
	m, err := c.theMCI()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.MCISettings(c.ctx(), m.ID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, set := range all {
		if list[i], err = c.settingResource(set); err != nil {
			return reply{}, err
		}
	}
	return c.index("multi_cloud_image_setting", list, "cloud_href")
}

func (c *call) setting() (reply, error) {
	id := c.id("setting")
	m, err := c.theMCI()
	if err != nil {
		return reply{}, err
	}
	set, err := c.fleet.DB.MCISetting(c.ctx(), m.ID, id)
	if err != nil {
		return reply{}, err
	}
	r, err := c.settingResource(set)
	if err != nil {
		return reply{}, err
	}
	return shown("multi_cloud_image_setting", r)
}

// settingParams writes what was sent over a setting.
func (c *call) settingParams(set *store.MCISetting) error {
	p := c.p.sub("multi_cloud_image_setting")
	if cloud := p.href("cloud_href", "clouds"); cloud != 0 {
		set.CloudID = cloud
	}
	var err error
	if set.ImageUID, err = c.ownName(p, "image_href", "images", set.CloudID, set.ImageUID); err != nil {
		return err
	}
	if set.InstanceType, err = c.ownName(p, "instance_type_href", "instance_types", set.CloudID, set.InstanceType); err != nil {
		return err
	}
	if text := p.opt("user_data"); text != nil {
		set.UserData = *text
	}
	return c.p.problem()
}

// ownName reads an href within a cloud and returns the cloud's own name of
// what it is: the catalogue's, or the href's last part when the catalogue of
// that cloud is empty. Without the parameter it is have.
func (c *call) ownName(p *params, field, kind string, cloudID int64, have string) (string, error) {
	cloud, uid := p.cloudHref(field, kind)
	if uid == "" {
		return have, nil
	}
	if cloudID != 0 && cloud != cloudID {
		p.wrong(field, "an href of cloud "+itoa64(cloudID))
		return have, nil
	}
	return c.nameInCloud(cloud, kind, uid)
}

func (c *call) createSetting() (reply, error) {
	set := store.MCISetting{MCIID: c.id("id")}
	c.p.sub("multi_cloud_image_setting").need("cloud_href")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	if err := c.settingParams(&set); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.PutSetting(c.ctx(), c.by(), set)
	return created(fmt.Sprintf("%s/settings/%d", fleet.MultiCloudImageHref(set.MCIID), id), err)
}

func (c *call) updateSetting() (reply, error) {
	id := c.id("setting")
	m, err := c.theMCI()
	if err != nil {
		return reply{}, err
	}
	set, err := c.fleet.DB.MCISetting(c.ctx(), m.ID, id)
	if err == nil {
		err = c.settingParams(&set)
	}
	if err == nil {
		_, err = c.fleet.PutSetting(c.ctx(), c.by(), set)
	}
	return done(err)
}

func (c *call) deleteSetting() (reply, error) {
	mci, id := c.id("id"), c.id("setting")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DeleteSetting(c.ctx(), c.by(), mci, id))
}

// Which ServerTemplates run on which images.

const templateImagesPath = "/api/server_template_multi_cloud_images/"

func templateImageResource(t store.TemplateImage) resource {
	return object(resource{"is_default": t.Default, "created_at": wire.FormatTime(t.CreatedAt), "updated_at": wire.FormatTime(t.UpdatedAt)},
		[]wire.Link{link("self", templateImagesPath+itoa64(t.ID)), link("server_template", fleet.ServerTemplateHref(t.TemplateID)),
			link("multi_cloud_image", fleet.MultiCloudImageHref(t.MCIID))}, "make_default")
}

func (c *call) templateImages() (reply, error) {
	all, err := c.fleet.DB.TemplateImages(c.ctx(), c.who.AccountID, 0)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, t := range all {
		list[i] = templateImageResource(t)
	}
	return c.index("server_template_multi_cloud_image", list, "is_default", "multi_cloud_image_href", "server_template_href")
}

func (c *call) templateImage() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	t, err := c.fleet.DB.TemplateImage(c.ctx(), c.who.AccountID, id)
	if err != nil {
		return reply{}, err
	}
	return shown("server_template_multi_cloud_image", templateImageResource(t))
}

func (c *call) createTemplateImage() (reply, error) {
	p := c.p.sub("server_template_multi_cloud_image")
	p.need("server_template_href")
	p.need("multi_cloud_image_href")
	st, mci := p.href("server_template_href", "server_templates"), p.href("multi_cloud_image_href", "multi_cloud_images")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	id, err := c.fleet.ConnectImage(c.ctx(), c.by(), st, mci)
	return created(templateImagesPath+itoa64(id), err)
}

func (c *call) deleteTemplateImage() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.DisconnectImage(c.ctx(), c.by(), id))
}

func (c *call) makeDefault() (reply, error) {
	id := c.id("id")
	if err := c.p.problem(); err != nil {
		return reply{}, err
	}
	return done(c.fleet.MakeDefaultImage(c.ctx(), c.by(), id))
}
