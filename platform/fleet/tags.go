// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// MaxTags bounds the tags of one resource.
const MaxTags = 256

// A tag is namespace:predicate=value, or a plain word.
var (
	machineTag = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]*:[A-Za-z][A-Za-z0-9_-]*)=[^\x00-\x1f\x7f]*$`)
	plainTag   = regexp.MustCompile(`^[^\x00-\x1f\x7f:=]+$`)
)

func checkTags(tags []string) error {
	if len(tags) == 0 || len(tags) > MaxTags {
		return invalid("want 1 to %d tags", MaxTags)
	}
	for _, t := range tags {
		if len(t) > 255 || !machineTag.MatchString(t) && !plainTag.MatchString(t) {
			return invalid("tag %q: want namespace:predicate=value, or a plain word, of at most 255 bytes", clip(t, 80))
		}
	}
	return nil
}

// ChangeTags puts tags on an agent's own instance or server, or takes them off.
// A machine tag replaces the one of the same namespace and predicate.
func (s *Service) ChangeTags(ctx context.Context, sess Session, hrefs, tags []string, remove bool) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := self(ctx, q, sess)
		if err != nil {
			return err
		}
		for _, href := range hrefs {
			if href != InstanceHref(inst) && href != ServerHref(server.ID) {
				return refused("an instance may change its own tags and those of its server, not those of %q", clip(href, 80))
			}
		}
		return changeTags(ctx, q, server.AccountID, hrefs, tags, remove)
	})
}

// TagServer does the same for the operator; it tags the current instance, as
// the agent and its scripts see it.
func (s *Service) TagServer(ctx context.Context, by By, name string, add, remove []string) (tags []string, err error) {
	if all := append(slices.Clone(add), remove...); len(all) > 0 {
		if err := checkTags(all); err != nil {
			return nil, err
		}
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, inst, server, err := s.named(ctx, q, by.Account, name)
		if err != nil {
			return err
		}
		hrefs := []string{InstanceHref(inst)}
		for _, change := range []struct {
			tags   []string
			remove bool
		}{{remove, true}, {add, false}} {
			if len(change.tags) == 0 {
				continue
			}
			if err := changeTags(ctx, q, by.Account, hrefs, change.tags, change.remove); err != nil {
				return err
			}
			if err := s.noteBy(ctx, q, by.Who, server, inst.ID, tagNote(change.tags, change.remove), ""); err != nil {
				return err
			}
		}
		rows, err := q.Tags(ctx, by.Account, hrefs[0])
		for _, row := range rows {
			tags = append(tags, row.Name)
		}
		return err
	})
	return tags, err
}

func changeTags(ctx context.Context, q *store.Queries, account int64, hrefs, tags []string, remove bool) error {
	for _, href := range hrefs {
		have, err := q.Tags(ctx, account, href)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if remove {
				if err := q.DeleteTag(ctx, account, href, tag); err != nil {
					return err
				}
				continue
			}
			for _, old := range have {
				if m := machineTag.FindStringSubmatch(tag); m != nil && strings.HasPrefix(old.Name, m[1]+"=") && old.Name != tag {
					if err := q.DeleteTag(ctx, account, href, old.Name); err != nil {
						return err
					}
				}
			}
			if err := q.AddTag(ctx, account, href, tag); err != nil {
				return err
			}
		}
		if have, err = q.Tags(ctx, account, href); err != nil {
			return err
		}
		if len(have) > MaxTags {
			return invalid("%s would have %d tags; at most %d are allowed", href, len(have), MaxTags)
		}
	}
	return nil
}

// TagsOf returns the tags of resources to an agent: of its account, or of its
// deployment where that says so.
func (s *Service) TagsOf(ctx context.Context, sess Session, hrefs []string) ([]wire.TaggedResource, error) {
	_, server, err := s.Self(ctx, sess)
	if err != nil {
		return nil, err
	}
	scope, err := s.tagScope(ctx, server)
	if err != nil {
		return nil, err
	}
	for _, href := range hrefs {
		if err := s.inScope(ctx, server.AccountID, scope, href); err != nil {
			return nil, err
		}
	}
	return s.TagsOfAccount(ctx, server.AccountID, hrefs)
}

// TagsOfAccount returns the tags of resources of an account.
func (s *Service) TagsOfAccount(ctx context.Context, account int64, hrefs []string) ([]wire.TaggedResource, error) {
	list := make([]wire.TaggedResource, 0, len(hrefs))
	for _, href := range hrefs {
		rows, err := s.DB.Tags(ctx, account, href)
		if err != nil {
			return nil, err
		}
		list = append(list, tagged(href, rows))
	}
	return list, nil
}

// TagQuery selects resources by their tags.
type TagQuery struct {
	// Tags may end with *, which stands for anything: a:b=*, a:*.
	Tags []string
	// Type is the last part of the hrefs' path: instances, servers, deployments,
	// server_templates, multi_cloud_images, right_scripts, server_arrays.
	Type     string
	MatchAll bool
	// Prefix selects the tags that the answer shows; empty shows those asked for.
	Prefix string
	// WithDeleted includes instances that have ended.
	WithDeleted bool
	// deployment is the one whose servers and instances are seen, 0 for all.
	deployment int64
}

// ByTag finds the resources that carry the tags, for an agent: those of its
// account, or of its deployment where that says so.
func (s *Service) ByTag(ctx context.Context, sess Session, query TagQuery) ([]wire.TaggedResource, error) {
	if query.Type != "instances" && query.Type != "servers" {
		return nil, invalid("resource_type %q: want instances or servers", clip(query.Type, 40))
	}
	_, server, err := s.Self(ctx, sess)
	if err != nil {
		return nil, err
	}
	if query.deployment, err = s.tagScope(ctx, server); err != nil {
		return nil, err
	}
	return s.ByTagOfAccount(ctx, server.AccountID, query)
}

// ByTagOfAccount finds the resources of an account that carry the tags.
func (s *Service) ByTagOfAccount(ctx context.Context, account int64, query TagQuery) ([]wire.TaggedResource, error) {
	if len(query.Tags) == 0 {
		return nil, invalid("tags is missing")
	}
	rows, err := s.DB.Tags(ctx, account, "")
	if err != nil {
		return nil, err
	}
	byHref := map[string][]store.TagRow{}
	for _, row := range rows {
		byHref[row.Href] = append(byHref[row.Href], row)
	}
	hrefs, err := s.hrefs(ctx, account, query, byHref)
	if err != nil {
		return nil, err
	}
	list := []wire.TaggedResource{}
	for _, href := range hrefs {
		if tags := byHref[href]; query.matches(tags) {
			list = append(list, tagged(href, slices.DeleteFunc(tags, func(t store.TagRow) bool { return !query.shows(t.Name) })))
		}
	}
	return list, nil
}

func (t TagQuery) matches(rows []store.TagRow) bool {
	for _, pattern := range t.Tags {
		has := slices.ContainsFunc(rows, func(row store.TagRow) bool { return matchTag(pattern, row.Name) })
		if has != t.MatchAll {
			return has // one is enough, or one is missing
		}
	}
	return t.MatchAll
}

func (t TagQuery) shows(name string) bool {
	if t.Prefix != "" && strings.HasPrefix(name, t.Prefix) {
		return true
	}
	return slices.ContainsFunc(t.Tags, func(pattern string) bool { return matchTag(pattern, name) })
}

// matchTag knows * for a value (a:b=*) and for a whole namespace (a:*).
func matchTag(pattern, name string) bool {
	if namespace, _, ok := strings.Cut(pattern, ":*"); ok {
		return strings.HasPrefix(name, namespace+":")
	}
	if predicate, ok := strings.CutSuffix(pattern, "=*"); ok {
		return strings.HasPrefix(name, predicate+"=")
	}
	return pattern == name
}

func tagged(href string, rows []store.TagRow) wire.TaggedResource {
	t := wire.TaggedResource{Links: []wire.Link{{Rel: "resource", Href: href}}, Actions: []map[string]string{}, Tags: []wire.Tag{}}
	for _, row := range rows {
		t.Tags = append(t.Tags, wire.Tag{Name: row.Name})
	}
	return t
}

// QueryTags is the router's question of RightLink 6: the tags of the given
// resources, or of the instances that carry the given tags, by href.
func (s *Service) QueryTags(ctx context.Context, sess Session, hrefs, tags []string) (map[string]any, error) {
	var list []wire.TaggedResource
	var err error
	switch {
	case len(hrefs) > 0:
		list, err = s.TagsOf(ctx, sess, hrefs)
	case len(tags) > 0:
		list, err = s.ByTag(ctx, sess, TagQuery{Tags: tags, Type: "instances", MatchAll: true})
	default:
		inst, _, ierr := s.Self(ctx, sess)
		if ierr != nil {
			return nil, ierr
		}
		list, err = s.TagsOf(ctx, sess, []string{InstanceHref(inst)})
	}
	result := map[string]any{}
	for _, t := range list {
		names := []string{}
		for _, tag := range t.Tags {
			names = append(names, tag.Name)
		}
		result[t.Href()] = map[string]any{"tags": names}
	}
	if err != nil {
		return nil, fmt.Errorf("query tags: %w", err)
	}
	return result, nil
}
