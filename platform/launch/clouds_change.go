// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// kept stands for a secret key that nobody has given anew.
const kept = secret.String("as it is")

// ChangeCloud writes what an operator says about a cloud that exists, after
// having asked the cloud whether the credentials work. Without a secret key the
// one that is stored stays, as long as it belongs to the same access key.
func (s *Service) ChangeCloud(ctx context.Context, account, id int64, spec CloudSpec, by string) error {
	old, err := s.Fleet.DB.Cloud(ctx, id)
	switch {
	case err == nil && old.AccountID != account:
		return fmt.Errorf("cloud %d: %w", id, store.ErrNotFound)
	case err != nil:
		return err
	case old.Region == "":
		return &fleet.RefusedError{Text: fmt.Sprintf("cloud %q is where instances belong that nobody has placed; it gets no credentials", old.Name)}
	}
	keeps := !spec.Ambient && spec.SecretKey == "" && old.Credentials == store.CredentialsKeys && spec.AccessKey == old.AccessKey
	checked := spec
	if keeps {
		checked.SecretKey = kept
	}
	checked.AllRegions = false
	if err := checked.check(); err != nil {
		return err
	}
	c := spec.over(old)
	if !spec.Ambient && !keeps {
		if c.Sealed, err = s.Clients.sealKeys(c, spec.SecretKey, spec.SessionToken); err != nil {
			return err
		}
	}
	if !spec.Unchecked {
		if c.CloudAccount, err = s.whose(ctx, c); err != nil {
			return err
		}
	}
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		if other, err := q.CloudByName(ctx, account, c.Name); err == nil && other.ID != id {
			return &fleet.InvalidError{Text: fmt.Sprintf("cloud %q exists already; choose another name", c.Name)}
		}
		if err := q.UpdateCloud(ctx, c, s.now()); err != nil {
			return err
		}
		summary := "cloud changed: " + c.Name
		if !keeps && (c.Credentials != old.Credentials || !spec.Ambient) {
			summary += " (new credentials)"
		}
		return s.noteCloud(ctx, q, c, summary, by)
	})
}

// over is a cloud with what the spec says; its keys are not touched.
func (c CloudSpec) over(old store.Cloud) store.Cloud {
	old.Name, old.Description, old.Region, old.EndpointURL, old.RoleARN, old.ExternalID, old.Discover = c.Name, c.Description, c.Region, c.EndpointURL, c.RoleARN, c.ExternalID, c.Discover
	old.Credentials, old.AccessKey = store.CredentialsKeys, c.AccessKey
	if c.Ambient {
		old.Credentials, old.AccessKey, old.Sealed = store.CredentialsAmbient, "", nil
	}
	return old
}

// whose asks which account the credentials of a cloud belong to.
func (s *Service) whose(ctx context.Context, c store.Cloud) (string, error) {
	c.ID = 0 // not those that are known for the cloud as it was
	factory, err := s.Clients.Factory(ctx, c)
	if err != nil {
		return "", &fleet.InvalidError{Text: err.Error()}
	}
	who, err := factory.STS(c.Region).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", &fleet.InvalidError{Text: factory.Explain("ask whose credentials these are", c.Region, err).Error()}
	}
	return aws.ToString(who.Account), nil
}
