// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// UploadTemplate stores a loaded ServerTemplate with its scripts and
// attachments in one transaction. A template or script of the same name is
// replaced: both are HEAD revisions, and servers take them at the next boot. Its
// MultiCloudImages are made or changed too, and connected with it; what of them
// cannot be done here is added to the warnings of t.
func (s *Service) UploadTemplate(ctx context.Context, by By, t *servertemplate.Template) (id int64, err error) {
	images, err := jsonList(t.MultiCloudImages)
	if err != nil {
		return 0, fmt.Errorf("MultiCloudImages: %w", err)
	}
	alerts, err := jsonList(t.Alerts)
	if err != nil {
		return 0, fmt.Errorf("alerts: %w", err)
	}
	inputs := map[string]rightscript.Value{}
	for _, in := range t.Inputs {
		inputs[in.Name] = in.Value
	}
	warnings := t.Warnings
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		t.Warnings = slices.Clone(warnings) // a transaction may be done again
		ids, err := s.putScripts(ctx, q, by.Account, t.Scripts)
		if err != nil {
			return err
		}
		bindings, err := bind(ctx, q, by.Account, t.Bindings, ids)
		if err != nil {
			return err
		}
		id, err = q.PutServerTemplate(ctx, store.ServerTemplate{
			AccountID: by.Account, Name: t.Name, Description: t.Description,
			Inputs: inputs, MultiCloudImages: images, Alerts: alerts,
		}, bindings, s.Now())
		if err != nil {
			return err
		}
		if err := s.putImages(ctx, q, by, id, t); err != nil {
			return err
		}
		if err := s.changed(ctx, q, by, ServerTemplateHref(id), fmt.Sprintf("ServerTemplate %s uploaded with %d scripts", t.Name, len(t.Scripts))); err != nil {
			return err
		}
		return q.DropUnusedBlobs(ctx)
	})
	return id, err
}

func jsonList(list []any) (json.RawMessage, error) {
	if list == nil {
		list = []any{}
	}
	return json.Marshal(list)
}

func (s *Service) putScripts(ctx context.Context, q *store.Queries, account int64, scripts []servertemplate.Script) ([]int64, error) {
	ids := make([]int64, len(scripts))
	for i, script := range scripts {
		row := store.RightScript{
			AccountID: account, Name: script.Metadata.Name, Description: script.Metadata.Description,
			Source: script.Source, Packages: script.Metadata.Packages, Inputs: script.Metadata.Inputs,
		}
		for _, a := range script.Attachments {
			blob := store.Blob{Digest: a.Digest, Size: a.Size}
			if err := s.putFile(ctx, q, blob, a.Path); err != nil {
				return nil, fmt.Errorf("attachment %q of %s: %w", a.Name, script.Path, err)
			}
			row.Attachments = append(row.Attachments, store.Attachment{Filename: a.Name, Blob: blob})
		}
		id, err := q.PutRightScript(ctx, row, s.Now())
		if err != nil {
			return nil, err
		}
		ids[i] = id
	}
	return ids, nil
}

func (s *Service) putFile(ctx context.Context, q *store.Queries, b store.Blob, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(q.PutBlob(ctx, b, f, s.Now()), f.Close())
}

func bind(ctx context.Context, q *store.Queries, account int64, bindings []servertemplate.Binding, ids []int64) ([]store.Binding, error) {
	rows := make([]store.Binding, len(bindings))
	for i, b := range bindings {
		rows[i] = store.Binding{Sequence: string(b.Sequence), Position: b.Position}
		if b.Script >= 0 {
			rows[i].ScriptID = ids[b.Script]
			continue
		}
		id, err := q.RightScriptID(ctx, account, b.Ref)
		if err != nil {
			return nil, fmt.Errorf("RightScripts: %s: %w in the account; upload it with a ServerTemplate first, or give the path of its file", b.Sequence, err)
		}
		rows[i].ScriptID = id
	}
	return rows, nil
}
