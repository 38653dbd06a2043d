// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Targets names instances in several ways; all that any of them names are meant,
// each once.
type Targets struct {
	Servers []string // by name: the instance that each has now
	// Instances are ids of the cloud (i-0abc) or of hrefs.
	Instances []string
	// Tags mean the living instances that carry all of them, on themselves or on
	// their server; a:b=* and a:* stand for more.
	Tags []string
}

// Find lists the instances that are meant, in the order of their ids. A name
// that means none is an error, and so are tags.
func (t Targets) Find(ctx context.Context, s *Service, account int64) ([]store.Instance, error) {
	found := map[int64]store.Instance{}
	for _, name := range t.Servers {
		_, inst, server, err := s.named(ctx, &s.DB.Queries, account, name)
		if err != nil {
			return nil, err
		}
		if !Living(inst) {
			return nil, refused("server %q has no running instance (its state is %s)", name, server.State)
		}
		found[inst.ID] = inst
	}
	for _, id := range t.Instances {
		inst, err := s.instanceNamed(ctx, account, id)
		if err != nil {
			return nil, err
		}
		found[inst.ID] = inst
	}
	if len(t.Tags) > 0 {
		tagged, err := s.instancesTagged(ctx, account, t.Tags)
		if err != nil {
			return nil, err
		}
		if len(tagged) == 0 {
			return nil, fmt.Errorf("living instance with tags %q: %w", t.Tags, store.ErrNotFound)
		}
		for _, inst := range tagged {
			found[inst.ID] = inst
		}
	}
	list := make([]store.Instance, 0, len(found))
	for _, inst := range found {
		list = append(list, inst)
	}
	slices.SortFunc(list, func(a, b store.Instance) int { return int(a.ID - b.ID) })
	return list, nil
}

func (s *Service) instanceNamed(ctx context.Context, account int64, id string) (store.Instance, error) {
	rows, err := s.DB.InstancesByResource(ctx, account, id)
	if err != nil {
		return store.Instance{}, err
	}
	if len(rows) > 0 && id != "" {
		return rows[0], nil // the living one comes first
	}
	return s.DB.InstanceByUID(ctx, account, id)
}

// instancesTagged lists the living instances that carry tags themselves, or
// whose server does.
func (s *Service) instancesTagged(ctx context.Context, account int64, tags []string) ([]store.Instance, error) {
	rows, err := s.DB.Tags(ctx, account, "")
	if err != nil {
		return nil, err
	}
	byHref := map[string][]store.TagRow{}
	for _, row := range rows {
		byHref[row.Href] = append(byHref[row.Href], row)
	}
	all, err := s.DB.KnownInstances(ctx, account)
	if err != nil {
		return nil, err
	}
	query := TagQuery{Tags: tags, MatchAll: true}
	return slices.DeleteFunc(all, func(i store.Instance) bool {
		have := slices.Clone(byHref[InstanceHref(i)])
		if i.ServerID != 0 {
			have = append(have, byHref[ServerHref(i.ServerID)]...)
		}
		return !Living(i) || !query.matches(have)
	}), nil
}
