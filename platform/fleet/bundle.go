// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// BootBundle is what an instance runs at boot. auditID is the entry the agent
// writes to; with 0 the bundle brings a new one.
func (s *Service) BootBundle(ctx context.Context, sess Session, host string, auditID int64) (wire.ExecutableBundle, error) {
	return s.bundle(ctx, sess, host, servertemplate.Boot, auditID)
}

// DecommissionBundle is what an instance runs before it goes away.
func (s *Service) DecommissionBundle(ctx context.Context, sess Session, host string) (wire.ExecutableBundle, error) {
	return s.bundle(ctx, sess, host, servertemplate.Decommission, 0)
}

func (s *Service) bundle(ctx context.Context, sess Session, host string, seq servertemplate.Sequence, auditID int64) (wire.ExecutableBundle, error) {
	b := wire.ExecutableBundle{
		ReposeServers: []string{host},
		Policy:        wire.RunlistPolicy{PolicyName: "default", ThreadName: "default"},
	}
	err := s.DB.InTxOf(ctx, sess.Token.ServerID, func(q *store.Queries) error {
		inst, server, err := declared(ctx, q, sess)
		if err != nil {
			return err
		}
		if auditID != 0 {
			if _, err := ownEntry(ctx, q, sess, auditID); err != nil {
				return err
			}
			b.AuditID = auditID
		} else if b.AuditID, err = s.bundleEntry(ctx, q, server, inst, seq); err != nil {
			return err
		}
		scripts, err := enabledScripts(ctx, q, server, seq)
		if err != nil {
			return err
		}
		b.Executables, err = s.instantiate(ctx, q, sess, host, inst, server, scripts, nil)
		return err
	})
	return b, err
}

func (s *Service) bundleEntry(ctx context.Context, q *store.Queries, server store.Server, inst store.Instance, seq servertemplate.Sequence) (int64, error) {
	return q.CreateAuditEntry(ctx, store.AuditEntry{
		AccountID: server.AccountID, ServerID: server.ID, InstanceID: inst.ID, AuditeeHref: InstanceHref(inst),
		Summary: string(seq) + " scripts", Notify: "None",
	}, s.Now())
}

// MissingAttributes returns those of the named scripts whose inputs are
// complete now.
func (s *Service) MissingAttributes(ctx context.Context, sess Session, host string, scriptIDs []int64) ([]wire.RightScript, error) {
	ready := []wire.RightScript{}
	inst, server, err := declared(ctx, &s.DB.Queries, sess)
	if err != nil {
		return nil, err
	}
	scripts, err := s.DB.BoundScripts(ctx, server.TemplateID, "")
	if err != nil {
		return nil, err
	}
	seen := map[int64]bool{}
	wanted := slices.DeleteFunc(scripts, func(b store.BoundScript) bool {
		unwanted := seen[b.ID] || !slices.Contains(scriptIDs, b.ID)
		seen[b.ID] = true
		return unwanted
	})
	list, err := s.instantiate(ctx, &s.DB.Queries, sess, host, inst, server, wanted, nil)
	if err != nil {
		return nil, err
	}
	for _, script := range list {
		if script.Ready {
			ready = append(ready, script)
		}
	}
	return ready, nil
}

// instantiate turns scripts into what the agent runs, with all values resolved;
// the given ones, if any, count before all others.
func (s *Service) instantiate(ctx context.Context, q *store.Queries, sess Session, host string, inst store.Instance, server store.Server, scripts []store.BoundScript, given map[string]rightscript.Value) ([]wire.RightScript, error) {
	r, err := s.newResolver(ctx, q, sess, host, inst, server)
	if err != nil {
		return nil, err
	}
	r.levels = append([]map[string]rightscript.Value{given}, r.levels...)
	list := make([]wire.RightScript, 0, len(scripts))
	for _, script := range scripts {
		res, err := r.resolve(ctx, script.Inputs)
		if err != nil {
			return nil, fmt.Errorf("script %q: %w", script.Name, err)
		}
		one := wire.RightScript{
			Nickname: script.Name, Source: script.Source, Packages: script.Packages, ID: script.ID, DisplayVersion: "[HEAD]",
			Parameters: res.values, InputFlags: res.flags, Secrets: res.secrets, Ready: len(res.flags) == 0,
		}
		for _, a := range script.Attachments {
			one.Attachments = append(one.Attachments, wire.Attachment{
				URL: "/api" + wire.PathAttachments + a.Digest, FileName: a.Filename, ETag: a.Digest,
				Token: s.attachmentToken(sess.Token.ID, a.Digest), Digest: a.Digest,
			})
		}
		list = append(list, one)
	}
	return list, nil
}
