// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// By says in which account something is changed, and by whom, for the audit
// trail.
type By struct {
	Account int64
	Who     string
}

// Hrefs of what people make.

// DeploymentHref is the href of a deployment.
func DeploymentHref(id int64) string { return fmt.Sprintf("/api/deployments/%d", id) }

// ServerTemplateHref is the href of a ServerTemplate.
func ServerTemplateHref(id int64) string { return fmt.Sprintf("/api/server_templates/%d", id) }

// RightScriptHref is the href of a script.
func RightScriptHref(id int64) string { return fmt.Sprintf("/api/right_scripts/%d", id) }

// MultiCloudImageHref is the href of a MultiCloudImage.
func MultiCloudImageHref(id int64) string { return fmt.Sprintf("/api/multi_cloud_images/%d", id) }

// CredentialHref is the href of a credential.
func CredentialHref(id int64) string { return fmt.Sprintf("/api/credentials/%d", id) }

// changed writes who did what to an object.
func (s *Service) changed(ctx context.Context, q *store.Queries, by By, href, summary string) error {
	_, err := q.CreateAuditEntry(ctx, store.AuditEntry{AccountID: by.Account, AuditeeHref: href, Summary: cutSummary(summary),
		UserEmail: clip(printable(by.Who), 255), Notify: "None"}, s.Now())
	return err
}

// about is changed for what may be a server or an instance, whose own trails
// hold it too.
func (s *Service) about(ctx context.Context, q *store.Queries, by By, href, summary string) error {
	r, err := find(ctx, q, by.Account, href)
	if err != nil {
		return err
	}
	_, err = q.CreateAuditEntry(ctx, store.AuditEntry{AccountID: by.Account, ServerID: r.serverID, InstanceID: r.instanceID, AuditeeHref: href, Summary: cutSummary(summary),
		UserEmail: clip(printable(by.Who), 255), Notify: "None"}, s.Now())
	return err
}

// objectName is the form of the names of deployments, templates, scripts and
// images.
var objectName = regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,255}$`)

func checkName(what, name string) error {
	if !objectName.MatchString(name) || strings.TrimSpace(name) != name {
		return invalid("name of %s %q: want 1 to 255 printable characters without space at the ends", what, clip(name, 80))
	}
	return nil
}

// maxDescription bounds texts for people.
const maxDescription = 64 << 10

func checkDescription(what, text string) error {
	if len(text) > maxDescription {
		return invalid("description of %s: %d bytes are more than %d", what, len(text), maxDescription)
	}
	return nil
}

// unique turns what a lookup by name found into the refusal of a second one.
func unique(what, name string, err error) error {
	switch {
	case err == nil:
		return invalid("%s %q exists already; choose another name", what, name)
	case errors.Is(err, store.ErrNotFound):
		return nil
	}
	return err
}

// DeploymentPatch changes a deployment; nil fields stay.
type DeploymentPatch struct {
	Name           *string
	Description    *string
	ServerTagScope *string
	Locked         *bool
}

func (p DeploymentPatch) apply(d *store.Deployment) error {
	set(&d.Name, p.Name)
	set(&d.Description, p.Description)
	set(&d.ServerTagScope, p.ServerTagScope)
	set(&d.Locked, p.Locked)
	if !slices.Contains([]string{"deployment", "account"}, d.ServerTagScope) {
		return invalid("server_tag_scope %q: want deployment or account", clip(d.ServerTagScope, 40))
	}
	return errors.Join(checkName("deployment", d.Name), checkDescription("deployment", d.Description))
}

// set writes a value that was given.
func set[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

// CreateDeployment makes a deployment.
func (s *Service) CreateDeployment(ctx context.Context, by By, p DeploymentPatch) (id int64, err error) {
	d := store.Deployment{AccountID: by.Account, ServerTagScope: "deployment"}
	if err := p.apply(&d); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.DeploymentByName(ctx, by.Account, d.Name)
		if err := unique("deployment", d.Name, err); err != nil {
			return err
		}
		if id, err = q.CreateDeployment(ctx, d, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, DeploymentHref(id), "deployment "+d.Name+" created")
	})
	return id, err
}

// UpdateDeployment changes a deployment.
func (s *Service) UpdateDeployment(ctx context.Context, by By, id int64, p DeploymentPatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		d, err := q.Deployment(ctx, by.Account, id)
		if err != nil {
			return err
		}
		old := d
		if err := p.apply(&d); err != nil {
			return err
		}
		if old.Locked && d.Locked {
			return refused("deployment %q is locked; unlock it first", d.Name)
		}
		if d.Name != old.Name {
			_, err := q.DeploymentByName(ctx, by.Account, d.Name)
			if err := unique("deployment", d.Name, err); err != nil {
				return err
			}
		}
		if err := q.UpdateDeployment(ctx, d, s.Now()); err != nil {
			return err
		}
		what := "changed"
		if d.Locked != old.Locked {
			what = map[bool]string{true: "locked", false: "unlocked"}[d.Locked]
		}
		return s.changed(ctx, q, by, DeploymentHref(id), "deployment "+d.Name+" "+what)
	})
}

// CloneDeployment copies a deployment with its inputs, without its servers.
func (s *Service) CloneDeployment(ctx context.Context, by By, id int64, p DeploymentPatch) (copied int64, err error) {
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		d, err := q.Deployment(ctx, by.Account, id)
		if err != nil {
			return err
		}
		from := d.Name
		d.Name, d.Locked = copyName(d.Name, func(name string) bool {
			_, err := q.DeploymentByName(ctx, by.Account, name)
			return err == nil
		}), false
		if err := p.apply(&d); err != nil {
			return err
		}
		_, err = q.DeploymentByName(ctx, by.Account, d.Name)
		if err := unique("deployment", d.Name, err); err != nil {
			return err
		}
		if copied, err = q.CreateDeployment(ctx, d, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, DeploymentHref(copied), "deployment "+d.Name+" made as a copy of "+from)
	})
	return copied, err
}

// copyName finds a free name for a copy.
func copyName(name string, taken func(string) bool) string {
	name = strings.TrimSpace(clip(name, 240))
	for n := 1; n < 1000; n++ {
		if candidate := fmt.Sprintf("%s v%d", name, n); !taken(candidate) {
			return candidate
		}
	}
	return name + " " + randomHex(4)
}

// DeleteDeployment removes an empty deployment.
func (s *Service) DeleteDeployment(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		d, err := q.Deployment(ctx, by.Account, id)
		if err != nil {
			return err
		}
		n, err := q.CountInDeployment(ctx, id)
		switch {
		case err != nil:
			return err
		case d.Locked:
			return refused("deployment %q is locked; unlock it first", d.Name)
		case n > 0:
			return invalid("deployment %q has %d servers or arrays; move or delete them first", d.Name, n)
		}
		if err := q.DeleteDeployment(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, DeploymentHref(id), "deployment "+d.Name+" deleted")
	})
}

// SetDeploymentInputs writes values on a deployment; "inherit" removes one, and
// those not named stay.
func (s *Service) SetDeploymentInputs(ctx context.Context, by By, id int64, inputs map[string]rightscript.Value) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		d, err := q.Deployment(ctx, by.Account, id)
		if err != nil {
			return err
		}
		if d.Inputs, err = merged(d.Inputs, inputs); err != nil {
			return err
		}
		if err := q.UpdateDeployment(ctx, d, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, DeploymentHref(id), "inputs of deployment "+d.Name+" changed: "+strings.Join(sortedKeys(inputs), ", "))
	})
}

// maxInputs bounds the inputs of one object.
const maxInputs = 1000

// merged writes new values over old ones; "inherit" removes one.
func merged(have, given map[string]rightscript.Value) (map[string]rightscript.Value, error) {
	all := map[string]rightscript.Value{}
	for name, value := range have {
		all[name] = value
	}
	for name, value := range given {
		if err := rightscript.CheckInputName(name); err != nil {
			return nil, invalid("input %v", err)
		}
		if value.Kind == rightscript.KindInherit {
			delete(all, name)
			continue
		}
		all[name] = value
	}
	if len(all) > maxInputs {
		return nil, invalid("%d inputs are more than %d", len(all), maxInputs)
	}
	return all, nil
}
