// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

func (c *cloud) CreateRole(ctx context.Context, in *iam.CreateRoleInput, _ ...func(*iam.Options)) (*iam.CreateRoleOutput, error) {
	return serve(ctx, c, "CreateRole", in, func() (*iam.CreateRoleOutput, error) {
		if _, ok := c.roles[aws.ToString(in.RoleName)]; ok {
			return nil, apiError("EntityAlreadyExists")
		}
		c.roles[aws.ToString(in.RoleName)] = nil
		return &iam.CreateRoleOutput{}, nil
	})
}

func (c *cloud) GetRole(ctx context.Context, in *iam.GetRoleInput, _ ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return serve(ctx, c, "GetRole", in, func() (*iam.GetRoleOutput, error) {
		if _, ok := c.roles[aws.ToString(in.RoleName)]; !ok {
			return nil, apiError("NoSuchEntity")
		}
		return &iam.GetRoleOutput{}, nil
	})
}

func (c *cloud) PutRolePolicy(ctx context.Context, in *iam.PutRolePolicyInput, _ ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error) {
	return serve(ctx, c, "PutRolePolicy", in, func() (*iam.PutRolePolicyOutput, error) {
		c.roles[aws.ToString(in.RoleName)] = []string{aws.ToString(in.PolicyDocument)}
		return &iam.PutRolePolicyOutput{}, nil
	})
}

func (c *cloud) DeleteRolePolicy(ctx context.Context, in *iam.DeleteRolePolicyInput, _ ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error) {
	return serve(ctx, c, "DeleteRolePolicy", in, func() (*iam.DeleteRolePolicyOutput, error) {
		if len(c.roles[aws.ToString(in.RoleName)]) == 0 {
			return nil, apiError("NoSuchEntity")
		}
		c.roles[aws.ToString(in.RoleName)] = nil
		return &iam.DeleteRolePolicyOutput{}, nil
	})
}

func (c *cloud) DeleteRole(ctx context.Context, in *iam.DeleteRoleInput, _ ...func(*iam.Options)) (*iam.DeleteRoleOutput, error) {
	return serve(ctx, c, "DeleteRole", in, func() (*iam.DeleteRoleOutput, error) {
		for _, roles := range c.profiles {
			if slices.Contains(roles, aws.ToString(in.RoleName)) {
				return nil, apiError("DeleteConflict")
			}
		}
		delete(c.roles, aws.ToString(in.RoleName))
		return &iam.DeleteRoleOutput{}, nil
	})
}

func (c *cloud) CreateInstanceProfile(ctx context.Context, in *iam.CreateInstanceProfileInput, _ ...func(*iam.Options)) (*iam.CreateInstanceProfileOutput, error) {
	return serve(ctx, c, "CreateInstanceProfile", in, func() (*iam.CreateInstanceProfileOutput, error) {
		if _, ok := c.profiles[aws.ToString(in.InstanceProfileName)]; ok {
			return nil, apiError("EntityAlreadyExists")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = nil
		return &iam.CreateInstanceProfileOutput{}, nil
	})
}

func (c *cloud) GetInstanceProfile(ctx context.Context, in *iam.GetInstanceProfileInput, _ ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error) {
	return serve(ctx, c, "GetInstanceProfile", in, func() (*iam.GetInstanceProfileOutput, error) {
		roles, ok := c.profiles[aws.ToString(in.InstanceProfileName)]
		if !ok {
			return nil, apiError("NoSuchEntity")
		}
		p := &iamtypes.InstanceProfile{}
		for _, r := range roles {
			p.Roles = append(p.Roles, iamtypes.Role{RoleName: aws.String(r)})
		}
		return &iam.GetInstanceProfileOutput{InstanceProfile: p}, nil
	})
}

func (c *cloud) AddRoleToInstanceProfile(ctx context.Context, in *iam.AddRoleToInstanceProfileInput, _ ...func(*iam.Options)) (*iam.AddRoleToInstanceProfileOutput, error) {
	return serve(ctx, c, "AddRoleToInstanceProfile", in, func() (*iam.AddRoleToInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) > 0 {
			return nil, apiError("LimitExceeded")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = []string{aws.ToString(in.RoleName)}
		return &iam.AddRoleToInstanceProfileOutput{}, nil
	})
}

func (c *cloud) RemoveRoleFromInstanceProfile(ctx context.Context, in *iam.RemoveRoleFromInstanceProfileInput, _ ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	return serve(ctx, c, "RemoveRoleFromInstanceProfile", in, func() (*iam.RemoveRoleFromInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) == 0 {
			return nil, apiError("NoSuchEntity")
		}
		c.profiles[aws.ToString(in.InstanceProfileName)] = nil
		return &iam.RemoveRoleFromInstanceProfileOutput{}, nil
	})
}

func (c *cloud) DeleteInstanceProfile(ctx context.Context, in *iam.DeleteInstanceProfileInput, _ ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error) {
	return serve(ctx, c, "DeleteInstanceProfile", in, func() (*iam.DeleteInstanceProfileOutput, error) {
		if len(c.profiles[aws.ToString(in.InstanceProfileName)]) > 0 {
			return nil, apiError("DeleteConflict")
		}
		delete(c.profiles, aws.ToString(in.InstanceProfileName))
		return &iam.DeleteInstanceProfileOutput{}, nil
	})
}
