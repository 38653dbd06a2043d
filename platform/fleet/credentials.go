// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"fmt"
	"regexp"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

var credentialName = regexp.MustCompile(`^[^\x00-\x1f\x7f:]{1,255}$`)

// SetCredential creates or replaces a credential.
func (s *Service) SetCredential(ctx context.Context, account int64, name, description string, value secret.String) error {
	if !credentialName.MatchString(name) {
		return invalid("credential name %q: want 1 to 255 printable characters without a colon", clip(name, 40))
	}
	// The value must be good as an environment variable.
	if _, err := rightscript.ParseValue("text:" + value.Reveal()); err != nil {
		return invalid("value of credential %q: %v", name, err)
	}
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		_, err := q.PutCredential(ctx, store.Credential{
			AccountID: account, Name: name, Description: description,
			Sealed: s.Keys.Seal(credentialPlace(account, name), value.Reveal()),
		}, s.Now())
		return err
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
