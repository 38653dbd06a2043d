// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net/http"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// templateImage is a MultiCloudImage of a ServerTemplate.
type templateImage struct {
	store.MultiCloudImage
	Default bool
}

func (c *call) templateImages(templateID int64) (list []templateImage, err error) {
	connections, err := c.fleet.DB.TemplateImages(c.ctx(), c.account(), templateID)
	if err != nil {
		return nil, err
	}
	for _, one := range connections {
		mci, err := c.fleet.DB.MultiCloudImage(c.ctx(), c.account(), one.MCIID)
		if err != nil {
			return nil, err
		}
		list = append(list, templateImage{mci, one.Default})
	}
	return list, nil
}

type mcisBody struct {
	list
	Rows []store.MultiCloudImage
}

func (c *call) multiCloudImages() error {
	b := mcisBody{list: c.list()}
	all, err := c.fleet.DB.MultiCloudImages(c.ctx(), c.account())
	if err != nil {
		return err
	}
	b.Rows = cut(&b.list, all, func(m store.MultiCloudImage) string { return m.Name })
	return c.show(http.StatusOK, "mcis", "MultiCloudImages", b)
}

// mciBody is the page of a MultiCloudImage: what it means in each cloud.
type mciBody struct {
	store.MultiCloudImage
	Settings  []mciSetting
	Templates []store.ServerTemplate
}

type mciSetting struct {
	store.MCISetting
	Cloud string
	// Image is what the catalogue knows of it, nil for nothing.
	Image *store.Image
}

func (c *call) multiCloudImage() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	var b mciBody
	if b.MultiCloudImage, err = c.fleet.DB.MultiCloudImage(c.ctx(), c.account(), id); err != nil {
		return err
	}
	settings, err := c.fleet.DB.MCISettings(c.ctx(), id)
	if err != nil {
		return err
	}
	clouds, err := c.cloudNames()
	if err != nil {
		return err
	}
	for _, one := range settings {
		row := mciSetting{MCISetting: one, Cloud: clouds[one.CloudID]}
		if image, err := c.fleet.DB.Image(c.ctx(), one.CloudID, one.ImageUID); err == nil {
			row.Image = &image
		} else if ignoreMissing(err) != nil {
			return err
		}
		b.Settings = append(b.Settings, row)
	}
	if b.Templates, err = c.templatesWith(id); err != nil {
		return err
	}
	return c.show(http.StatusOK, "mci", b.Name, b)
}

// templatesWith lists the ServerTemplates that can run on a MultiCloudImage.
func (c *call) templatesWith(mciID int64) (list []store.ServerTemplate, err error) {
	connections, err := c.fleet.DB.TemplateImages(c.ctx(), c.account(), 0)
	if err != nil {
		return nil, err
	}
	for _, one := range connections {
		if one.MCIID != mciID {
			continue
		}
		t, err := c.fleet.DB.ServerTemplate(c.ctx(), one.TemplateID)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// imagesBody is the catalogue: the images that a cloud lists.
type imagesBody struct {
	list
	Clouds []store.Cloud
	Cloud  store.Cloud
	Rows   []store.Image
}

func (c *call) images() error {
	b := imagesBody{list: c.list()}
	var err error
	if b.Clouds, err = c.fleet.DB.Clouds(c.ctx(), c.account()); err != nil {
		return err
	}
	if len(b.Clouds) == 0 {
		return c.show(http.StatusOK, "images", "Image catalogue", b)
	}
	wanted := number(c.r.URL.Query().Get("cloud"))
	i := slices.IndexFunc(b.Clouds, func(one store.Cloud) bool { return one.ID == wanted })
	if i < 0 {
		i = len(b.Clouds) - 1
	}
	b.Cloud = b.Clouds[i]
	if b.Rows, b.Total, err = c.fleet.DB.ImagesPage(c.ctx(), b.Cloud.ID, b.page()); err != nil {
		return err
	}
	return c.show(http.StatusOK, "images", "Image catalogue", b)
}
