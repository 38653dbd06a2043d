// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-chi/chi/v5"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// resourceKind is a kind of what a launch can name in a cloud.
type resourceKind struct{ path, kind string }

var resourceKinds = []resourceKind{
	{"datacenters", store.KindDatacenter}, {"instance_types", store.KindInstanceType}, {"subnets", store.KindSubnet},
	{"security_groups", store.KindSecurityGroup}, {"ssh_keys", store.KindSSHKey},
}

// inCloud finds a cloud of the caller's account.
func (c *call) inCloud(id int64) (store.Cloud, error) {
	cloud, err := c.fleet.DB.Cloud(c.ctx(), id)
	if err == nil && cloud.AccountID != c.who.AccountID {
		return store.Cloud{}, fmt.Errorf("cloud %d: %w", id, store.ErrNotFound)
	}
	return cloud, err
}

// theCloud finds the cloud of the path.
func (c *call) theCloud() (store.Cloud, error) {
	id := c.id("cloud")
	if err := c.p.problem(); err != nil {
		return store.Cloud{}, err
	}
	return c.inCloud(id)
}

func cloudResource(cloud store.Cloud) resource {
	href := cloudHref(cloud.ID)
	links := []wire.Link{link("self", href), link("instances", href+"/instances"), link("images", href+"/images")}
	for _, k := range resourceKinds {
		links = append(links, link(k.path, href+"/"+k.path))
	}
	return object(resource{"name": cloud.Name, "display_name": cloud.Name, "description": cloud.Description, "cloud_type": cloud.Type}, links)
}

func (c *call) clouds() (reply, error) {
	c.view("extended")
	all, err := c.fleet.DB.Clouds(c.ctx(), c.who.AccountID)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, cloud := range all {
		list[i] = cloudResource(cloud)
	}
	return c.index("cloud", list, "name", "description", "cloud_type")
}

func (c *call) cloud() (reply, error) {
	c.view("extended")
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	return shown("cloud", cloudResource(cloud))
}

func imageResource(i store.Image) resource {
	cloud := cloudHref(i.CloudID)
	return object(resource{"name": i.Name, "resource_uid": i.ResourceUID, "description": i.Description, "os_platform": i.OSPlatform, "image_type": i.ImageType,
		"visibility": i.Visibility, "virtualization_type": i.VirtualizationType, "cpu_architecture": i.CPUArchitecture},
		[]wire.Link{link("self", cloud+"/images/"+i.UID), link("cloud", cloud)})
}

func (c *call) images() (reply, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.Images(c.ctx(), cloud.ID, false)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, image := range all {
		list[i] = imageResource(image)
	}
	return c.index("image", list, "name", "resource_uid", "description", "os_platform", "image_type", "cpu_architecture", "visibility")
}

func (c *call) image() (reply, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	i, err := c.fleet.DB.Image(c.ctx(), cloud.ID, chi.URLParam(c.r, "uid"))
	if err != nil {
		return reply{}, err
	}
	return shown("image", imageResource(i))
}

func (k resourceKind) resource(r store.CloudResource) resource {
	cloud := cloudHref(r.CloudID)
	attributes := resource{"name": r.Name, "resource_uid": r.ResourceUID}
	for name, text := range r.Attributes {
		attributes[name] = text
		if n, err := strconv.Atoi(text); err == nil && name != "memory" {
			attributes[name] = n
		}
	}
	return object(attributes, []wire.Link{link("self", cloud+"/"+k.path+"/"+r.UID), link("cloud", cloud)})
}

func (k resourceKind) index(c *call) (reply, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	all, err := c.fleet.DB.CloudResources(c.ctx(), cloud.ID, k.kind, false)
	if err != nil {
		return reply{}, err
	}
	list := make([]resource, len(all))
	for i, r := range all {
		list[i] = k.resource(r)
	}
	return c.index(k.kind, list, "name", "resource_uid", "description")
}

func (k resourceKind) show(c *call) (reply, error) {
	cloud, err := c.theCloud()
	if err != nil {
		return reply{}, err
	}
	r, err := c.fleet.DB.CloudResource(c.ctx(), cloud.ID, k.kind, chi.URLParam(c.r, "uid"))
	if err != nil {
		return reply{}, err
	}
	return shown(k.kind, k.resource(r))
}

// nameInCloud is the cloud's own name of what the last part of an href says. A
// cloud whose catalogue was never read is believed.
func (c *call) nameInCloud(cloudID int64, path, uid string) (string, error) {
	cloud, err := c.inCloud(cloudID)
	if err != nil {
		return "", err
	}
	var name string
	if path == "images" {
		var i store.Image
		i, err = c.fleet.DB.Image(c.ctx(), cloudID, uid)
		name = i.ResourceUID
	}
	for _, k := range resourceKinds {
		if k.path == path {
			var r store.CloudResource
			r, err = c.fleet.DB.CloudResource(c.ctx(), cloudID, k.kind, uid)
			name = r.ResourceUID
		}
	}
	if errors.Is(err, store.ErrNotFound) && cloud.CataloguedAt.IsZero() {
		return uid, nil
	}
	return name, err
}
