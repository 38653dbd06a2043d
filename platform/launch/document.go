// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
)

// userData writes the launch settings in the form that the rs_agent tags ask for.
func (s *Service) userData(ctx context.Context, q *store.Queries, server store.Server, c choice, id fleet.Identity) (string, error) {
	host, err := q.Setting(ctx, fleet.SettingPublicHost)
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", &fleet.InvalidError{Text: "the platform's public name is not known yet: start \"rightscaled serve --hostname NAME\" once"}
	}
	tags, err := agentTags(ctx, q, server, c.mci)
	if err != nil {
		return "", err
	}
	form, settings, err := readTags(tags, c.own)
	if err != nil {
		return "", &fleet.InvalidError{Text: fmt.Sprintf("server %q: %v", server.Name, err)}
	}
	settings.TokenID, settings.Token, settings.Account = id.TokenID, id.Token, server.AccountID
	settings.Server, settings.Version, settings.Own = host, server.RightLinkVersion, c.own
	doc, err := userdata.Build(form, settings)
	if err != nil {
		return "", &fleet.InvalidError{Text: fmt.Sprintf("server %q: %v", server.Name, err)}
	}
	return doc, nil
}

// agentTags are the tags that say how a machine is launched: those of the
// MultiCloudImage, and those of the server, which count before them.
func agentTags(ctx context.Context, q *store.Queries, server store.Server, mci int64) (map[string]string, error) {
	hrefs := []string{fleet.ServerHref(server.ID)}
	if mci != 0 {
		hrefs = append([]string{fmt.Sprintf("/api/multi_cloud_images/%d", mci)}, hrefs...)
	}
	tags := map[string]string{}
	for _, href := range hrefs {
		rows, err := q.Tags(ctx, server.AccountID, href)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if name, value, ok := strings.Cut(row.Name, "="); ok {
				tags[name] = value
			}
		}
	}
	return tags, nil
}

// readTags turns tags into the form and the settings of user-data. Without a
// tag it is the query form, which every agent reads, or MIME where the user's
// own part has several lines.
func readTags(tags map[string]string, own string) (userdata.Form, userdata.Settings, error) {
	settings := userdata.Settings{
		HTTPProxy: tags["rs_agent:http_proxy"], NoProxy: tags["rs_agent:http_no_proxy"],
		Package: tags["rs_agent_dev:package"], PatchURL: tags["rs_agent_dev:patch_url"],
		ScriptURL: tags["rs_agent:mime_shellscript"], IncludeURL: tags["rs_agent:mime_include_url"],
	}
	if tags["rs_agent:http_proxy_user"] != "" || tags["rs_agent:http_proxy_password"] != "" {
		return "", settings, fmt.Errorf("tag rs_agent:http_proxy_user or _password: every process on a machine can read its user-data, so no password goes there; let the proxy know its clients by their address")
	}
	form := tags["rs_agent:userdata"]
	if form == "" {
		form = "query"
		if tags["rs_agent:type"] == "right_link_lite" || strings.Contains(strings.TrimRight(own, "\r\n"), "\n") || settings.ScriptURL+settings.IncludeURL != "" {
			form = "mime"
		}
	}
	switch form {
	case "query":
		return userdata.FormQuery, settings, nil
	case "liquid":
		return userdata.FormTemplate, settings, nil
	case "mime":
		switch identity := tags["rs_agent:mime_identity"]; identity {
		case "", "shellscript":
			return userdata.FormMime, settings, nil
		case "write_file":
			return userdata.FormMimeCloudConfig, settings, nil
		default:
			return "", settings, fmt.Errorf("tag rs_agent:mime_identity=%s: want shellscript or write_file", identity)
		}
	}
	return "", settings, fmt.Errorf("tag rs_agent:userdata=%s: want query, mime or liquid", form)
}
