// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// EnableBindings has a server run scripts of its ServerTemplate again, or keeps
// them from it. Bindings that are uploaded anew stay as they were for the server,
// as long as script and sequence are the same. A machine that runs already
// notices at its next boot, or when it ends.
func (s *Service) EnableBindings(ctx context.Context, by By, serverID int64, bindings []int64, enable bool) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := serverOf(ctx, q, by.Account, serverID)
		if err != nil {
			return err
		}
		var names []string
		for _, id := range bindings {
			b, err := q.PlacedBinding(ctx, server.TemplateID, id)
			if err != nil {
				return err
			}
			if err := q.SetScriptDisabled(ctx, serverID, b.Binding, !enable); err != nil {
				return err
			}
			names = append(names, fmt.Sprintf("%s (%s)", b.Script.Name, b.Sequence))
		}
		what := map[bool]string{true: "scripts enabled: ", false: "scripts disabled: "}[enable]
		return s.noteBy(ctx, q, by.Who, server, 0, what+strings.Join(names, ", "), "")
	})
}

// enabledScripts lists the scripts of a sequence that a server runs.
func enabledScripts(ctx context.Context, q *store.Queries, server store.Server, seq servertemplate.Sequence) ([]store.BoundScript, error) {
	scripts, err := q.BoundScripts(ctx, server.TemplateID, string(seq))
	if err != nil {
		return nil, err
	}
	off, err := q.DisabledScripts(ctx, server.ID)
	if err != nil || len(off) == 0 {
		return scripts, err
	}
	return slices.DeleteFunc(scripts, func(b store.BoundScript) bool {
		return slices.Contains(off, store.Binding{ScriptID: b.ID, Sequence: b.Sequence})
	}), nil
}
