// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// ChangeTagsAs is ChangeTags for a person, on anything of the account.
func (s *Service) ChangeTagsAs(ctx context.Context, by By, hrefs, tags []string, remove bool) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		for _, href := range hrefs {
			if _, err := find(ctx, q, by.Account, href); err != nil {
				return err
			}
		}
		if err := changeTags(ctx, q, by.Account, hrefs, tags, remove); err != nil {
			return err
		}
		for _, href := range hrefs {
			if err := s.about(ctx, q, by, href, tagNote(tags, remove)); err != nil {
				return err
			}
		}
		return nil
	})
}

// tagNote is how the audit trail tells of a change of tags.
func tagNote(tags []string, remove bool) string {
	return map[bool]string{false: "tags added: ", true: "tags removed: "}[remove] + strings.Join(tags, ", ")
}

// tagScope is the deployment whose tags a server's instances see, 0 for all of
// the account.
func (s *Service) tagScope(ctx context.Context, server store.Server) (int64, error) {
	if server.DeploymentID == 0 {
		return 0, nil
	}
	d, err := s.DB.Deployment(ctx, server.AccountID, server.DeploymentID)
	if err != nil || d.ServerTagScope == "account" {
		return 0, err
	}
	return d.ID, nil
}

// inScope refuses what is of a server in another deployment.
func (s *Service) inScope(ctx context.Context, account, scope int64, href string) error {
	if scope == 0 {
		return nil
	}
	r, err := find(ctx, &s.DB.Queries, account, href)
	if errors.Is(err, store.ErrNotFound) || err == nil && r.serverID == 0 {
		return nil // what is nowhere has no tags, and other things are of the account
	}
	if err != nil {
		return err
	}
	other, err := s.DB.Server(ctx, r.serverID)
	if err == nil && other.DeploymentID != scope {
		err = refused("%q is in another deployment; server_tag_scope of this one is deployment", clip(href, 80))
	}
	return err
}

// hrefs lists the resources of a type that are there, of a deployment if the
// query says so.
func (s *Service) hrefs(ctx context.Context, account int64, query TagQuery, tagged map[string][]store.TagRow) (hrefs []string, err error) {
	switch query.Type {
	case "servers", "instances":
	case "deployments", "server_templates", "multi_cloud_images", "right_scripts", "server_arrays":
		for _, href := range sortedKeys(tagged) {
			if !strings.HasPrefix(href, "/api/"+query.Type+"/") {
				continue
			}
			if _, err := find(ctx, &s.DB.Queries, account, href); err == nil {
				hrefs = append(hrefs, href)
			} else if !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
		}
		return hrefs, nil
	default:
		return nil, invalid("resource_type %q: want instances, servers, deployments, server_templates, multi_cloud_images, right_scripts or server_arrays", clip(query.Type, 40))
	}
	servers, err := s.DB.Servers(ctx, account)
	if err != nil {
		return nil, err
	}
	visible := map[int64]bool{}
	for _, server := range servers {
		visible[server.ID] = query.deployment == 0 || server.DeploymentID == query.deployment
		if visible[server.ID] && query.Type == "servers" {
			hrefs = append(hrefs, ServerHref(server.ID))
		}
	}
	if query.Type == "servers" {
		return hrefs, nil
	}
	instances, err := s.DB.Instances(ctx, account)
	for _, i := range instances {
		if (query.WithDeleted || Living(i)) && (query.deployment == 0 || visible[i.ServerID]) {
			hrefs = append(hrefs, InstanceHref(i))
		}
	}
	return hrefs, err
}
