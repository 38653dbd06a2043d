// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Bounds of the tree. EC2's has about a hundred leaves and six levels.
const (
	maxNodes = 5000
	maxLevel = 16
)

// walk fetches the tree below path (which ends in "/"). Every directory's
// entries are fetched at the same time; imds.slots bounds the requests. Leaves
// that the service refuses are dropped, as the original did; a service that
// goes silent is an error. Directories that skip accepts are left out.
func (m *imds) walk(ctx context.Context, path string, skip func(path string) bool) (*Tree, error) {
	listing, err := m.get(ctx, path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &walker{m: m, skip: skip, cancel: cancel}
	root := &Tree{Dir: true}
	w.run(func() error { return w.expand(ctx, root, path, listing, 0) })
	w.Wait()
	if w.err != nil {
		return nil, w.err
	}
	root.prune()
	return root, nil
}

type walker struct {
	sync.WaitGroup

	m     *imds
	nodes atomic.Int64
	skip  func(string) bool

	cancel context.CancelFunc
	once   sync.Once
	err    error // the first one; it ended the walk
}

// run starts fn; its error ends the walk.
func (w *walker) run(fn func() error) {
	w.Go(func() {
		if err := fn(); err != nil {
			w.once.Do(func() { w.err = err; w.cancel() })
		}
	})
}

// expand adds the listing's entries to dir and starts a fetch for each.
func (w *walker) expand(ctx context.Context, dir *Tree, path, listing string, level int) error {
	if level > maxLevel {
		return fmt.Errorf("metadata service: %s is deeper than %d levels", path, maxLevel)
	}
	for _, e := range parseListing(listing) {
		child, at := &Tree{Name: e.name, Dir: e.dir}, path+e.name
		if e.dir {
			at += "/"
			if w.skip(at) {
				continue
			}
		}
		if w.nodes.Add(1) > maxNodes {
			return fmt.Errorf("metadata service: more than %d entries", maxNodes)
		}
		dir.Children = append(dir.Children, child)
		w.run(func() error { return w.fetch(ctx, child, at, level) })
	}
	return nil
}

// fetch fills one node. Only this goroutine touches it until walk ends.
func (w *walker) fetch(ctx context.Context, node *Tree, path string, level int) error {
	body, err := w.m.get(ctx, path)
	var refused statusError
	switch {
	case errors.Is(err, ErrAbsent), errors.Is(err, ErrDenied), errors.As(err, &refused) && refused < 500 && ctx.Err() == nil:
		node.Name = "" // dropped by prune
		return nil
	case err != nil:
		return err
	case node.Dir:
		return w.expand(ctx, node, path, body, level+1)
	}
	node.Value = body
	return nil
}

// prune removes dropped nodes, and directories that are empty without them.
func (t *Tree) prune() {
	kept := t.Children[:0]
	for _, c := range t.Children {
		c.prune()
		if c.Name != "" && (!c.Dir || len(c.Children) > 0) {
			kept = append(kept, c)
		}
	}
	t.Children = kept
}
