// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// kind is what a Describe action needs to know of the records it shows.
type kind[T any] struct {
	// ids is the parameter with the ids that are wanted, prefix how they begin.
	ids, prefix string
	// code begins the codes CODE.NotFound and CODE.Malformed; malformed is
	// another beginning for the second one, where EC2 has one.
	code, malformed string
	// absent is the message for an id that is not there, with one %s.
	absent string
	// least is the smallest page that the action allows.
	least int64
	all   func(*store.Region) []T
	id    func(T) string
	// key sorts the rows; nil: the id does.
	key   func(T) string
	attrs attributes[T]
}

// describe returns one page of the records that a request asks for, and the
// token of the next one.
func describe[T any](s *Service, r *request, k kind[T]) ([]T, string, error) {
	ids, filters, pg := r.list(k.ids), r.filters(), r.paging(max(1, k.least))
	if err := r.checked(); err != nil {
		return nil, "", err
	}
	var rows []T
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = k.all(reg)
		for _, id := range ids {
			if err := wellFormed(k.prefix, orText(k.malformed, k.code), id); err != nil {
				return err
			}
			if !slices.ContainsFunc(rows, func(row T) bool { return k.id(row) == id }) {
				return call.Errorf(k.code+".NotFound", k.absent, id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	if len(ids) > 0 {
		rows = slices.DeleteFunc(rows, func(row T) bool { return !slices.Contains(ids, k.id(row)) })
	}
	if rows, err = k.attrs.keep(rows, filters); err != nil {
		return nil, "", err
	}
	if k.key == nil {
		k.key = k.id
	}
	return page(s, r, pg, rows, k.key)
}

// need reads a parameter that must be there.
func (p params) need(name string) string {
	v := p.str(name)
	if v == "" {
		p.fail(missing(name))
	}
	return v
}

// finding is what looks a record up by its id.
func finding[T any](t lookup[T], prefix, code, malformed, absent, id string) (T, error) {
	var none T
	if err := wellFormed(prefix, malformed, id); err != nil {
		return none, err
	}
	row, ok := t.Get(id)
	if !ok {
		return none, call.Errorf(code+".NotFound", absent, id)
	}
	return row, nil
}
