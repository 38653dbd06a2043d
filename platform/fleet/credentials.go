// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

var credentialName = regexp.MustCompile(`^[^\x00-\x1f\x7f:]{1,255}$`)

// SetCredential creates or replaces a credential.
func (s *Service) SetCredential(ctx context.Context, by By, name, description string, value secret.String) error {
	if err := checkCredential(name, value); err != nil {
		return err
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		id, err := q.PutCredential(ctx, store.Credential{
			AccountID: by.Account, Name: name, Description: description,
			Sealed: s.Keys.Seal(credentialPlace(by.Account, name), value.Reveal()),
		}, s.Now())
		if err != nil {
			return err
		}
		return s.changed(ctx, q, by, CredentialHref(id), "credential "+name+" stored")
	})
}

// checkCredential tells why a value cannot be a credential's: it must be good
// as an environment variable.
func checkCredential(name string, value secret.String) error {
	if !credentialName.MatchString(name) {
		return invalid("credential name %q: want 1 to 255 printable characters without a colon", clip(name, 40))
	}
	if _, err := rightscript.ParseValue("text:" + value.Reveal()); err != nil {
		return invalid("value of credential %q: %v", name, err)
	}
	return nil
}

// CredentialPatch changes a credential; nil fields stay.
type CredentialPatch struct {
	Name        *string
	Description *string
	Value       *secret.String
}

// CreateCredential stores a new credential.
func (s *Service) CreateCredential(ctx context.Context, by By, name, description string, value secret.String) (id int64, err error) {
	if err := errors.Join(checkCredential(name, value), checkDescription("credential", description)); err != nil {
		return 0, err
	}
	err = s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.Credential(ctx, by.Account, name)
		if err := unique("credential", name, err); err != nil {
			return err
		}
		if id, err = q.PutCredential(ctx, store.Credential{AccountID: by.Account, Name: name, Description: description,
			Sealed: s.Keys.Seal(credentialPlace(by.Account, name), value.Reveal())}, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, CredentialHref(id), "credential "+name+" created")
	})
	return id, err
}

// UpdateCredential changes a credential.
func (s *Service) UpdateCredential(ctx context.Context, by By, id int64, p CredentialPatch) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		c, err := q.CredentialByID(ctx, by.Account, id)
		if err != nil {
			return err
		}
		old := c.Name
		plain, err := s.openCredential(c)
		if p.Value != nil {
			plain, err = p.Value.Reveal(), nil
		}
		if err != nil {
			return err
		}
		set(&c.Name, p.Name)
		set(&c.Description, p.Description)
		if err := errors.Join(checkCredential(c.Name, secret.String(plain)), checkDescription("credential", c.Description)); err != nil {
			return err
		}
		if c.Name != old {
			_, err := q.Credential(ctx, by.Account, c.Name)
			if err := unique("credential", c.Name, err); err != nil {
				return err
			}
		}
		c.Sealed = s.Keys.Seal(credentialPlace(by.Account, c.Name), plain)
		if err := q.UpdateCredential(ctx, c, s.Now()); err != nil {
			return err
		}
		return s.changed(ctx, q, by, CredentialHref(id), "credential "+c.Name+" changed")
	})
}

// DeleteCredential removes a credential. Inputs that name it have no value from
// then on.
func (s *Service) DeleteCredential(ctx context.Context, by By, id int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		c, err := q.CredentialByID(ctx, by.Account, id)
		if err != nil {
			return err
		}
		if err := q.DeleteCredential(ctx, id); err != nil {
			return err
		}
		return s.changed(ctx, q, by, CredentialHref(id), "credential "+c.Name+" deleted")
	})
}

// CredentialValue opens a credential for a person, which the audit trail tells.
func (s *Service) CredentialValue(ctx context.Context, by By, id int64) (secret.String, error) {
	c, err := s.DB.CredentialByID(ctx, by.Account, id)
	if err != nil {
		return "", err
	}
	plain, err := s.openCredential(c)
	if err != nil {
		return "", err
	}
	return secret.String(plain), s.DB.InTx(ctx, func(q *store.Queries) error {
		return s.changed(ctx, q, by, CredentialHref(id), "value of credential "+c.Name+" was read")
	})
}

func (s *Service) openCredential(c store.Credential) (string, error) {
	plain, err := s.Keys.Open(credentialPlace(c.AccountID, c.Name), c.Sealed)
	if err != nil {
		return "", fmt.Errorf("credential %q: %w", c.Name, err)
	}
	return plain, nil
}

func credentialPlace(account int64, name string) string {
	return fmt.Sprintf("credential %d/%s", account, name)
}
