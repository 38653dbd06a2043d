// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// instanceProfiles finds ours by name first: listings of IAM show no tags.
func (p *place) instanceProfiles(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := iam.NewListInstanceProfilesPaginator(p.iam, &iam.ListInstanceProfilesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, listed := range page.InstanceProfiles {
			name := aws.ToString(listed.InstanceProfileName)
			if !strings.HasPrefix(name, namePrefix) {
				continue
			}
			got, err := p.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String(name)})
			if awsx.Class(err) == awsx.NotYet {
				continue
			}
			if err != nil {
				return nil, err
			}
			if tags := iamTagMap(got.InstanceProfile.Tags); tags[tagTemporary] != "" {
				out = append(out, p.profile(*got.InstanceProfile, tags))
			}
		}
	}
	return out, nil
}

func (p *place) profile(i iamtypes.InstanceProfile, tags map[string]string) *Leftover {
	name := i.InstanceProfileName
	l := p.leftover("instance profile", *name, tags, i.CreateDate, "delete-instance-profile", "--instance-profile-name", *name)
	l.remove = func(ctx context.Context) error {
		for _, r := range i.Roles {
			_, err := p.iam.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: r.RoleName})
			if err != nil && awsx.Class(err) != awsx.NotYet {
				return err
			}
		}
		_, err := p.iam.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
		return err
	}
	return l
}

func (p *place) roles(ctx context.Context) ([]*Leftover, error) {
	var out []*Leftover
	pages := iam.NewListRolesPaginator(p.iam, &iam.ListRolesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, listed := range page.Roles {
			name := aws.ToString(listed.RoleName)
			if !strings.HasPrefix(name, namePrefix) {
				continue
			}
			got, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
			if awsx.Class(err) == awsx.NotYet {
				continue
			}
			if err != nil {
				return nil, err
			}
			if tags := iamTagMap(got.Role.Tags); tags[tagTemporary] != "" {
				out = append(out, p.role(*got.Role, tags))
			}
		}
	}
	return out, nil
}

func (p *place) role(r iamtypes.Role, tags map[string]string) *Leftover {
	name := r.RoleName
	l := p.leftover("role", *name, tags, r.CreateDate, "delete-role", "--role-name", *name)
	l.Action = "delete with its policies"
	l.remove = func(ctx context.Context) error {
		pages := iam.NewListRolePoliciesPaginator(p.iam, &iam.ListRolePoliciesInput{RoleName: name})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return err
			}
			for _, policy := range page.PolicyNames {
				_, err := p.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String(policy)})
				if err != nil && awsx.Class(err) != awsx.NotYet {
					return err
				}
			}
		}
		_, err := p.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
		return err
	}
	return l
}
