// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"slices"
	"strings"
)

// newGCE is Google Compute Engine. The metadata keeps the names below
// "instance" and, in a folder "project", those of the project.
func newGCE(o Options) Cloud {
	d := newDocument(o, "gce", "GCE_", "/computeMetadata/v1/?recursive=true&alt=json", "Metadata-Flavor", "Google")
	d.host = "metadata.google.internal"
	d.secret = func(path []string) bool {
		at := slices.Index(path, "attributes")
		return at >= 0 && len(path) == at+2 && strings.HasPrefix(strings.ToUpper(path[at+1]), "RS_")
	}
	d.instanceID = func(t *Tree) string { return t.text("instance", "id") }
	d.loginKey = gceKeys
	d.fetchUserData = gceUserData
	return gce{d}
}

// gce shows the instance's metadata at the top, where the original had it.
type gce struct{ *document }

func (g gce) MetaData(ctx context.Context) (*Tree, error) {
	t, err := g.document.MetaData(ctx)
	if err != nil {
		return nil, err
	}
	out := &Tree{Dir: true}
	if i := t.at("instance"); i != nil {
		out.Children = append(out.Children, i.Children...)
	}
	if p := t.at("project"); p != nil {
		out.Children = append(out.Children, p)
	}
	return out, nil
}

func recogniseGCE(h Hints) bool {
	return strings.HasPrefix(h.ProductName, "Google Compute Engine") || h.SysVendor == "Google" && h.ProductName == "Google"
}

// gceUserData is the attribute user-data, else all attributes as name=value
// pairs, sorted and joined with "&", as RightScale's platform set them.
func gceUserData(ctx context.Context, d *document) ([]byte, error) {
	t, err := d.whole(ctx)
	if err != nil {
		return nil, err
	}
	attributes := t.at("instance", "attributes")
	if attributes == nil {
		return nil, ErrAbsent
	}
	if v := attributes.text("user-data"); v != "" {
		if attributes.text("user-data-encoding") == "base64" {
			return decodeBase64(v), nil
		}
		return []byte(v), nil
	}
	var pairs []string
	for _, c := range attributes.Children {
		if !c.Dir && !slices.Contains([]string{"ssh-keys", "sshKeys", "startup-script", "shutdown-script"}, c.Name) {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	if len(pairs) == 0 {
		return nil, ErrAbsent
	}
	slices.Sort(pairs)
	return []byte(strings.Join(pairs, "&")), nil
}

// gceKeys are the keys of the instance and, unless it blocks them, of the
// project: lines of USER:KEY.
func gceKeys(t *Tree) string {
	own := t.at("instance", "attributes")
	lists := []string{}
	if own != nil {
		lists = append(lists, own.text("ssh-keys"), own.text("sshKeys"))
	}
	if own == nil || !strings.EqualFold(own.text("block-project-ssh-keys"), "true") {
		if p := t.at("project", "attributes"); p != nil {
			lists = append(lists, p.text("ssh-keys"), p.text("sshKeys"))
		}
	}
	var keys []string
	for l := range strings.Lines(strings.Join(lists, "\n")) {
		if _, key, ok := strings.Cut(strings.TrimSpace(l), ":"); ok && !strings.Contains(key, "google-ssh {") {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, "\n")
}
