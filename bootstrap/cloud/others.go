// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"strings"
)

// newDigitalOcean is DigitalOcean's droplets.
func newDigitalOcean(o Options) Cloud {
	d := newDocument(o, "digitalocean", "DO_", "/metadata/v1.json", "", "")
	d.secret = func(path []string) bool {
		return len(path) == 1 && (path[0] == "user_data" || path[0] == "vendor_data" || path[0] == "auth_key")
	}
	d.instanceID = func(t *Tree) string { return t.text("droplet_id") }
	d.loginKey = func(t *Tree) string { return t.at("public_keys").lines() }
	d.fetchUserData = func(ctx context.Context, d *document) ([]byte, error) {
		text, err := d.once(ctx, "/metadata/v1/user-data")
		if err == nil && strings.TrimSpace(text) == "" {
			err = ErrAbsent
		}
		return []byte(text), err
	}
	return d
}

func recogniseDigitalOcean(h Hints) bool { return h.SysVendor == "DigitalOcean" }

// newOracle is Oracle Cloud Infrastructure, with version 2 of its service.
func newOracle(o Options) Cloud {
	d := newDocument(o, "oracle", "OCI_", "/opc/v2/instance/", "Authorization", "Bearer Oracle")
	d.secret = func(path []string) bool { return len(path) == 2 && path[0] == "metadata" && path[1] == "user_data" }
	d.instanceID = func(t *Tree) string { return t.text("id") }
	d.loginKey = func(t *Tree) string { return t.text("metadata", "ssh_authorized_keys") }
	d.fetchUserData = func(ctx context.Context, d *document) ([]byte, error) {
		t, err := d.whole(ctx)
		if err != nil {
			return nil, err
		}
		if v := t.text("metadata", "user_data"); strings.TrimSpace(v) != "" {
			return decodeBase64(v), nil
		}
		return nil, ErrAbsent
	}
	return d
}

func recogniseOracle(h Hints) bool { return h.ChassisAssetTag == "OracleCloud.com" }
