// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// TemplatePatch changes a ServerTemplate; nil fields stay.
type TemplatePatch struct {
	Name        *string
	Description *string
}

func (p TemplatePatch) apply(t *store.ServerTemplate) error {
	set(&t.Name, p.Name)
	set(&t.Description, p.Description)
	return errors.Join(checkName("ServerTemplate", t.Name), checkDescription("ServerTemplate", t.Description))
}

// Template finds a ServerTemplate of an account.
func (s *Service) Template(ctx context.Context, account, id int64) (store.ServerTemplate, error) {
	return templateOf(ctx, &s.DB.Queries, account, id)
}

func templateOf(ctx context.Context, q *store.Queries, account, id int64) (store.ServerTemplate, error) {
	t, err := q.ServerTemplate(ctx, id)
	if err == nil && t.AccountID != account {
		return store.ServerTemplate{}, fmt.Errorf("ServerTemplate %d: %w", id, store.ErrNotFound)
	}
	return t, err
}

// headTemplate finds a ServerTemplate that may be changed.
func headTemplate(ctx context.Context, q *store.Queries, account, id int64) (store.ServerTemplate, error) {
	t, err := templateOf(ctx, q, account, id)
	if err == nil && t.Revision != 0 {
		err = invalid("ServerTemplate %q revision %d is committed; change its HEAD", t.Name, t.Revision)
	}
	return t, err
}

// CreateTemplate makes the HEAD of an empty ServerTemplate.
func (s *Service) CreateTemplate(ctx context.Context, by By, p TemplatePatch) (id int64, err error) {
	t := store.ServerTemplate{AccountID: by.Account}
	if err := p.apply(&t); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.ServerTemplateByName(ctx, by.Account, t.Name)
		if err := unique("ServerTemplate", t.Name, err); err != nil {
			return err
		}
		if id, err = q.CreateServerTemplate(ctx, t, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(id), "ServerTemplate "+t.Name+" created")
	})
	return id, err
}

// UpdateTemplate changes the HEAD of a ServerTemplate.
func (s *Service) UpdateTemplate(ctx context.Context, by By, id int64, p TemplatePatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		old := t.Name
		if err := p.apply(&t); err != nil {
			return err
		}
		if t.Name != old {
			_, err := q.ServerTemplateByName(ctx, by.Account, t.Name)
			if err := unique("ServerTemplate", t.Name, err); err != nil {
				return err
			}
		}
		if err := q.UpdateServerTemplate(ctx, t, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(id), "ServerTemplate "+t.Name+" changed")
	})
}

// SetTemplateInputs writes values on the HEAD of a ServerTemplate; "inherit"
// removes one, and those not named stay. What no script of it knows is kept
// too: scripts may be bound later.
func (s *Service) SetTemplateInputs(ctx context.Context, by By, id int64, inputs map[string]rightscript.Value) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		if t.Inputs, err = merged(t.Inputs, inputs); err != nil {
			return err
		}
		if err := q.UpdateServerTemplate(ctx, t, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(id), "inputs of ServerTemplate "+t.Name+" changed: "+strings.Join(sortedKeys(inputs), ", "))
	})
}

// Commit says how a ServerTemplate is committed.
type Commit struct {
	Message string
	// Heads commits the HEADs of its scripts and images too, and binds the
	// revision to those commits.
	Heads bool
}

// CommitTemplate keeps the HEAD of a ServerTemplate as a revision that does not
// change any more.
func (s *Service) CommitTemplate(ctx context.Context, by By, id int64, c Commit) (revision int64, err error) {
	if err := checkDescription("commit", c.Message); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := headTemplate(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		last, err := q.LastRevision(ctx, store.TableServerTemplates, by.Account, t.Name)
		if err != nil {
			return err
		}
		t.Revision, t.LineageID, t.CommitMessage = last+1, id, c.Message
		if revision, err = q.CreateServerTemplate(ctx, t, s.Now()); err != nil {
			return err
		}
		if err := s.copyContents(ctx, q, by, id, revision, c); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(revision), fmt.Sprintf("ServerTemplate %s committed as revision %d", t.Name, t.Revision))
	})
	return revision, err
}

// CloneTemplate copies a ServerTemplate to a new HEAD.
func (s *Service) CloneTemplate(ctx context.Context, by By, id int64, p TemplatePatch) (copied int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := templateOf(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		from := t.Name
		if err := p.apply(&t); err != nil {
			return err
		}
		t.Revision, t.LineageID, t.CommitMessage = 0, 0, ""
		_, err = q.ServerTemplateByName(ctx, by.Account, t.Name)
		if err := unique("ServerTemplate", t.Name, err); err != nil {
			return err
		}
		if copied, err = q.CreateServerTemplate(ctx, t, s.Now()); err != nil {
			return err
		}
		if err := s.copyContents(ctx, q, by, id, copied, Commit{}); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(copied), "ServerTemplate "+t.Name+" made as a copy of "+from)
	})
	return copied, err
}

// copyContents copies bindings, images and alerts of a ServerTemplate.
func (s *Service) copyContents(ctx context.Context, q *store.Queries, by By, from, to int64, c Commit) error {
	bindings, err := q.Bindings(ctx, from)
	if err != nil {
		return err
	}
	committed := map[int64]int64{}
	for _, b := range bindings {
		if c.Heads && b.Script.Revision == 0 {
			if committed[b.ScriptID] == 0 {
				if committed[b.ScriptID], err = s.commitScript(ctx, q, by, b.ScriptID, c.Message); err != nil {
					return err
				}
			}
			b.ScriptID = committed[b.ScriptID]
		}
		if _, err := q.CreateBinding(ctx, to, b.Binding); err != nil {
			return err
		}
	}
	images, err := q.TemplateImages(ctx, by.Account, from)
	if err != nil {
		return err
	}
	for _, i := range images {
		i.TemplateID = to
		if c.Heads {
			if i.MCIID, err = s.commitHeadImage(ctx, q, by, i.MCIID, c.Message); err != nil {
				return err
			}
		}
		if _, err := q.AddTemplateImage(ctx, i, s.Now()); err != nil {
			return err
		}
	}
	alerts, err := q.AlertSpecs(ctx, from)
	if err != nil {
		return err
	}
	for _, a := range alerts {
		a.ID, a.TemplateID = 0, to
		if _, err := q.PutAlertSpec(ctx, a, s.Now()); err != nil {
			return err
		}
	}
	return nil
}

// DeleteTemplate removes a ServerTemplate that no server runs.
func (s *Service) DeleteTemplate(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		t, err := templateOf(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		n, err := q.CountServersOfTemplate(ctx, id)
		if err != nil {
			return err
		}
		if n > 0 {
			return invalid("ServerTemplate %q is used by %d servers; delete them, or give them another one, first", t.Name, n)
		}
		if err := q.DeleteServerTemplate(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, ServerTemplateHref(id), "ServerTemplate "+t.Name+" deleted")
	})
}
