// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// resource is what an href names, with the server and instance behind it, 0 for
// none.
type resource struct {
	href                 string
	serverID, instanceID int64
}

var (
	objectHref   = regexp.MustCompile(`^/api/([a-z_]+)/([0-9]{1,18})$`)
	cloudObject  = regexp.MustCompile(`^/api/clouds/([0-9]{1,18})/([a-z_]+)/([A-Za-z0-9._:-]{1,255})$`)
	nextInstance = regexp.MustCompile(`^NEXT([0-9A-F]{8,16})$`)
)

// NextUID is the id in the href of a server's next instance, its launch
// configuration. It needs no row: it says which server it is of.
func NextUID(serverID int64) string { return fmt.Sprintf("NEXT%08X", serverID) }

// ServerOfNext tells which server's next instance an id is.
func ServerOfNext(uid string) (serverID int64, ok bool) {
	m := nextInstance.FindStringSubmatch(uid)
	if m == nil {
		return 0, false
	}
	id, err := strconv.ParseInt(m[1], 16, 64)
	return id, err == nil
}

// NextHref is the href of a server's next instance.
func NextHref(server store.Server) string {
	return fmt.Sprintf("/api/clouds/%d/instances/%s", server.CloudID, NextUID(server.ID))
}

func accountHref(id int64) string { return fmt.Sprintf("/api/accounts/%d", id) }

// find looks whether an href names something of an account.
func find(ctx context.Context, q *store.Queries, account int64, href string) (r resource, err error) {
	r.href = href
	missing := fmt.Errorf("resource %q: %w", clip(href, 80), store.ErrNotFound)
	if m := cloudObject.FindStringSubmatch(href); m != nil {
		cloudID, _ := strconv.ParseInt(m[1], 10, 64)
		return findInCloud(ctx, q, account, cloudID, m[2], m[3], r)
	}
	m := objectHref.FindStringSubmatch(href)
	if m == nil {
		return r, missing
	}
	id, _ := strconv.ParseInt(m[2], 10, 64)
	switch m[1] {
	case "servers":
		var server store.Server
		if server, err = serverOf(ctx, q, account, id); err == nil {
			r.serverID = server.ID
		}
	case "deployments":
		_, err = q.Deployment(ctx, account, id)
	case "server_templates":
		_, err = templateOf(ctx, q, account, id)
	case "right_scripts":
		_, err = q.Script(ctx, account, id)
	case "multi_cloud_images":
		_, err = q.MultiCloudImage(ctx, account, id)
	case "server_arrays":
		_, err = q.ServerArray(ctx, account, id)
	case "clouds":
		err = ownsCloud(ctx, q, account, id)
	case "credentials":
		_, err = q.CredentialByID(ctx, account, id)
	case "accounts":
		if id != account {
			err = missing
		}
	default:
		err = missing
	}
	return r, err
}

func findInCloud(ctx context.Context, q *store.Queries, account, cloudID int64, kind, uid string, r resource) (resource, error) {
	missing := fmt.Errorf("resource %q: %w", clip(r.href, 80), store.ErrNotFound)
	if kind != "instances" {
		if err := ownsCloud(ctx, q, account, cloudID); err != nil {
			return r, err
		}
	}
	switch kind {
	case "instances":
		if id, ok := ServerOfNext(uid); ok {
			server, err := serverOf(ctx, q, account, id)
			if err == nil && NextHref(server) != r.href {
				err = missing
			}
			r.serverID = id
			return r, err
		}
		inst, err := q.InstanceByUID(ctx, account, uid)
		if err == nil && inst.CloudID != cloudID {
			err = missing
		}
		r.serverID, r.instanceID = inst.ServerID, inst.ID
		return r, err
	case "images":
		_, err := q.Image(ctx, cloudID, uid)
		return r, err
	default:
		_, err := q.CloudResource(ctx, cloudID, strings.TrimSuffix(kind, "s"), uid)
		return r, err
	}
}
