// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// ScriptPatch changes a script; nil fields stay.
type ScriptPatch struct {
	Name        *string
	Description *string
	Packages    *string
	Source      *string
}

// apply writes the fields and reads what the source says about its inputs. A
// metadata comment that cannot be read is refused with its lines.
func (p ScriptPatch) apply(sc *store.RightScript) error {
	set(&sc.Name, p.Name)
	set(&sc.Description, p.Description)
	set(&sc.Packages, p.Packages)
	if p.Source != nil {
		if len(*p.Source) > servertemplate.MaxSource {
			return invalid("source: %d bytes are more than %d", len(*p.Source), servertemplate.MaxSource)
		}
		if strings.ContainsRune(*p.Source, 0) || !utf8.ValidString(*p.Source) {
			return invalid("source: holds a NUL byte or is not UTF-8")
		}
		meta, err := rightscript.Parse(*p.Source)
		if err != nil {
			return invalid("source: %v", err)
		}
		sc.Source, sc.Inputs = *p.Source, detectInputs(*p.Source)
		if meta != nil {
			sc.Inputs = append([]rightscript.Input{}, meta.Inputs...)
			if p.Description == nil && sc.Description == "" {
				sc.Description = meta.Description
			}
			if p.Packages == nil && sc.Packages == "" {
				sc.Packages = meta.Packages
			}
		}
	}
	sc.Packages = strings.Join(strings.Fields(sc.Packages), " ")
	return errors.Join(checkName("RightScript", sc.Name), checkDescription("RightScript", sc.Description))
}

// CreateScript makes the HEAD of a script.
func (s *Service) CreateScript(ctx context.Context, by By, p ScriptPatch) (id int64, err error) {
	sc := store.RightScript{AccountID: by.Account, Inputs: []rightscript.Input{}}
	if err := p.apply(&sc); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.RightScriptID(ctx, by.Account, sc.Name)
		if err := unique("RightScript", sc.Name, err); err != nil {
			return err
		}
		if id, err = q.CreateRightScript(ctx, sc, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, RightScriptHref(id), "RightScript "+sc.Name+" created")
	})
	return id, err
}

// headScript finds a script that may be changed: revisions stay as they are.
func headScript(ctx context.Context, q *store.Queries, account, id int64) (store.RightScript, error) {
	sc, err := q.Script(ctx, account, id)
	if err == nil && sc.Revision != 0 {
		err = invalid("RightScript %q revision %d is committed; change its HEAD", sc.Name, sc.Revision)
	}
	return sc, err
}

// UpdateScript changes the HEAD of a script. Servers run the new one from the
// next boot or request on.
func (s *Service) UpdateScript(ctx context.Context, by By, id int64, p ScriptPatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		sc, err := headScript(ctx, q, by.Account, id)
		if err != nil {
			return err
		}
		old := sc.Name
		if err := p.apply(&sc); err != nil {
			return err
		}
		if sc.Name != old {
			_, err := q.RightScriptID(ctx, by.Account, sc.Name)
			if err := unique("RightScript", sc.Name, err); err != nil {
				return err
			}
		}
		if err := q.UpdateRightScript(ctx, sc, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, RightScriptHref(id), "RightScript "+sc.Name+" changed")
	})
}

// CommitScript keeps the HEAD of a script as a revision that does not change
// any more.
func (s *Service) CommitScript(ctx context.Context, by By, id int64, message string) (revision int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		revision, err = s.commitScript(ctx, q, by, id, message)
		return err
	})
	return revision, err
}

func (s *Service) commitScript(ctx context.Context, q *store.Queries, by By, id int64, message string) (int64, error) {
	if err := checkDescription("commit", message); err != nil {
		return 0, err
	}
	sc, err := headScript(ctx, q, by.Account, id)
	if err != nil {
		return 0, err
	}
	last, err := q.LastRevision(ctx, store.TableRightScripts, by.Account, sc.Name)
	if err != nil {
		return 0, err
	}
	sc.Revision, sc.LineageID, sc.CommitMessage = last+1, id, message
	revision, err := q.CreateRightScript(ctx, sc, s.Now())
	if err != nil {
		return 0, err
	}
	for _, a := range sc.Attachments {
		if _, err := q.AddScriptFile(ctx, revision, a.Filename, a.Digest); err != nil {
			return 0, err
		}
	}
	return revision, s.changed(ctx, q, by, RightScriptHref(revision), fmt.Sprintf("RightScript %s committed as revision %d", sc.Name, sc.Revision))
}

// DeleteScript removes a script that no ServerTemplate names.
func (s *Service) DeleteScript(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		sc, err := q.Script(ctx, by.Account, id)
		if err != nil {
			return err
		}
		n, err := q.CountBindings(ctx, id)
		if err != nil {
			return err
		}
		if n > 0 {
			return invalid("RightScript %q is in %d places of ServerTemplates; take it out of them first", sc.Name, n)
		}
		if err := q.DeleteRightScript(ctx, id); err != nil {
			return err
		}
		if err := q.DropUnusedBlobs(ctx); err != nil {
			return err
		}
		return s.changed(ctx, q, by, RightScriptHref(id), "RightScript "+sc.Name+" deleted")
	})
}

// NewFile is an attachment to store: content of known digest, which can be read
// again from the start.
type NewFile struct {
	Filename string
	store.Blob
	MD5     string
	Content io.ReadSeeker
}

// AttachFile adds an attachment to the HEAD of a script, or replaces the one of
// the id replace.
func (s *Service) AttachFile(ctx context.Context, by By, scriptID, replace int64, f NewFile) (id int64, err error) {
	if f.Filename == "" || len(f.Filename) > 255 || f.Filename == "." || f.Filename == ".." || strings.ContainsAny(f.Filename, "/\\\x00\r\n") || !utf8.ValidString(f.Filename) {
		return 0, invalid("filename %q is not a plain file name", clip(f.Filename, 80))
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		sc, err := headScript(ctx, q, by.Account, scriptID)
		if err != nil {
			return err
		}
		if replace != 0 {
			if _, err := q.ScriptFile(ctx, scriptID, replace); err != nil {
				return err
			}
			if err := q.DeleteScriptFile(ctx, replace); err != nil {
				return err
			}
		}
		files, err := q.ScriptFiles(ctx, scriptID)
		if err != nil {
			return err
		}
		for _, other := range files {
			if other.Filename == f.Filename {
				return invalid("RightScript %q has an attachment %q already; delete it first", sc.Name, f.Filename)
			}
		}
		if _, err := f.Content.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := q.PutBlob(ctx, f.Blob, f.Content, s.Now()); err != nil {
			return err
		}
		if err := q.SetBlobSum(ctx, f.Digest, f.MD5); err != nil {
			return err
		}
		if id, err = q.AddScriptFile(ctx, scriptID, f.Filename, f.Digest); err != nil {
			return err
		}
		if err := q.DropUnusedBlobs(ctx); err != nil {
			return err
		}
		return s.changed(ctx, q, by, RightScriptHref(scriptID), fmt.Sprintf("attachment %s of RightScript %s stored", f.Filename, sc.Name))
	})
	return id, err
}

// DetachFile removes an attachment from the HEAD of a script.
func (s *Service) DetachFile(ctx context.Context, by By, scriptID, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		sc, err := headScript(ctx, q, by.Account, scriptID)
		if err != nil {
			return err
		}
		f, err := q.ScriptFile(ctx, scriptID, id)
		if err != nil {
			return err
		}
		if err := q.DeleteScriptFile(ctx, id); err != nil {
			return err
		}
		if err := q.DropUnusedBlobs(ctx); err != nil {
			return err
		}
		return s.changed(ctx, q, by, RightScriptHref(scriptID), fmt.Sprintf("attachment %s of RightScript %s deleted", f.Filename, sc.Name))
	})
}

// ScriptFiles lists the attachments of a script with their MD5 sums.
func (s *Service) ScriptFiles(ctx context.Context, account, scriptID int64) ([]store.ScriptFile, error) {
	if _, err := s.DB.Script(ctx, account, scriptID); err != nil {
		return nil, err
	}
	files, err := s.DB.ScriptFiles(ctx, scriptID)
	for i := range files {
		if files[i].MD5 != "" || err != nil {
			continue
		}
		err = s.DB.InTx(ctx, func(q *store.Queries) (err error) {
			files[i].MD5, err = q.SumBlob(ctx, files[i].Blob)
			return err
		})
	}
	return files, err
}

// downloadTime is the life of a download link for people.
const downloadTime = 15 * time.Minute

// DownloadToken lets whoever has it download one digest for a while; a person
// gets it with the list of attachments.
func (s *Service) DownloadToken(digest string) secret.String {
	return secret.String(s.signDownload(0, digest, downloadTime))
}

// ChangedScripts lists the HEAD scripts of a ServerTemplate that differ from
// their last revision, or have none.
func (s *Service) ChangedScripts(ctx context.Context, t store.ServerTemplate) ([]store.RightScript, error) {
	bound, err := s.DB.BoundScripts(ctx, t.ID, "")
	if err != nil {
		return nil, err
	}
	all, err := s.DB.RightScripts(ctx, t.AccountID)
	if err != nil {
		return nil, err
	}
	last := map[int64]store.RightScript{}
	for _, sc := range all {
		if sc.LineageID != 0 && sc.Revision > last[sc.LineageID].Revision {
			last[sc.LineageID] = sc
		}
	}
	var changed []store.RightScript
	seen := map[int64]bool{}
	for _, b := range bound {
		if b.Revision != 0 || seen[b.ID] {
			continue
		}
		seen[b.ID] = true
		same := false
		if revision, ok := last[b.ID]; ok {
			committed, err := s.DB.Script(ctx, t.AccountID, revision.ID)
			if err != nil {
				return nil, err
			}
			same = committed.Source == b.Source && committed.Packages == b.Packages && slices.Equal(committed.Attachments, b.Attachments)
		}
		if !same {
			changed = append(changed, b.RightScript)
		}
	}
	return changed, nil
}
