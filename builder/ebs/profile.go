// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// policyName is the name of the one policy of a temporary role.
const policyName = "build"

// makeProfile makes a role with an inline policy and an instance profile of the
// same name. EC2 may not know it for a while: awaitProfile waits for that.
func (s *site) makeProfile(ctx context.Context, api access, policy string) (string, error) {
	role, err := s.makeRole(ctx, api)
	if err != nil {
		return "", err
	}
	err = s.patiently(ctx, "role "+role+" to be known", func(ctx context.Context) error {
		_, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
			RoleName: aws.String(role), PolicyName: aws.String(policyName), PolicyDocument: aws.String(policy),
		})
		return err
	})
	if err != nil {
		return "", s.fail("give role "+role+" the policy of temporary_iam_instance_profile_policy", err)
	}
	profile, err := s.makeInstanceProfile(ctx, api)
	if err != nil {
		return "", err
	}
	err = s.patiently(ctx, "instance profile "+profile+" to be known", func(ctx context.Context) error {
		_, err := api.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String(profile), RoleName: aws.String(role)})
		if err != nil && awsx.Class(err) != awsx.NotYet && hasRole(ctx, api, profile, role) {
			return nil // an earlier try of this call
		}
		return err
	})
	return profile, s.fail("put role "+role+" into the instance profile", err)
}

func hasRole(ctx context.Context, api profiles, profile, role string) bool {
	out, err := api.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String(profile)})
	return err == nil && out.InstanceProfile != nil && len(out.InstanceProfile.Roles) == 1 &&
		aws.ToString(out.InstanceProfile.Roles[0].RoleName) == role
}

// trust lets EC2 of the region's partition use a role.
func trust(region string) string {
	service := "ec2.amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		service += ".cn"
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`
}

func (s *site) iamTags() []iamtypes.Tag {
	var tags []iamtypes.Tag
	for _, t := range s.tags(nil) {
		tags = append(tags, iamtypes.Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

func (s *site) makeRole(ctx context.Context, api roles) (string, error) {
	name := s.name()
	t := thing{
		kind: "role",
		find: s.command("iam", "get-role", "--role-name", name),
		lookup: func(ctx context.Context) ([]string, error) {
			if _, err := api.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)}); err != nil {
				return nil, err
			}
			return []string{name}, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String(name), PolicyName: aws.String(policyName)})
			if err != nil && awsx.Class(err) != awsx.NotYet {
				return err
			}
			_, err = api.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String(name)})
			return err
		},
		remedy: func(name string) string {
			return s.command("iam", "delete-role-policy", "--role-name", name, "--policy-name", policyName) + "; " +
				s.command("iam", "delete-role", "--role-name", name)
		},
	}
	return s.make(ctx, t, func(ctx context.Context) (string, error) {
		_, err := api.CreateRole(ctx, &iam.CreateRoleInput{
			RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(trust(s.region)),
			Description: aws.String("Temporary role of an image build"), Tags: s.iamTags(),
		})
		return name, unlessOurs(err)
	})
}

func (s *site) makeInstanceProfile(ctx context.Context, api profiles) (string, error) {
	name := s.name()
	t := thing{
		kind: "instance profile",
		find: s.command("iam", "get-instance-profile", "--instance-profile-name", name),
		lookup: func(ctx context.Context) ([]string, error) {
			if _, err := api.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String(name)}); err != nil {
				return nil, err
			}
			return []string{name}, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := api.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: aws.String(name), RoleName: aws.String(name)})
			if err != nil && awsx.Class(err) != awsx.NotYet {
				return err
			}
			_, err = api.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: aws.String(name)})
			return err
		},
		remedy: func(name string) string {
			return s.command("iam", "remove-role-from-instance-profile", "--instance-profile-name", name, "--role-name", name) + "; " +
				s.command("iam", "delete-instance-profile", "--instance-profile-name", name)
		},
	}
	return s.make(ctx, t, func(ctx context.Context) (string, error) {
		_, err := api.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String(name), Tags: s.iamTags()})
		return name, unlessOurs(err)
	})
}

// unlessOurs forgives that a thing exists already when its name has the build's
// id in it: then an earlier try of the same call has made it.
func unlessOurs(err error) error {
	if awsx.Class(err) == awsx.Conflict {
		return nil
	}
	return err
}

// awaitProfile waits until EC2 would launch a machine with the new instance
// profile: it asks for a launch without launching.
func (s *site) awaitProfile(ctx context.Context, api launcher, m machine) error {
	in := m.request(0)
	in.DryRun, in.ClientToken = aws.Bool(true), nil
	w := s.waiter
	w.Delay, w.Attempts, w.Deadline = min(s.waiter.Delay, 5*time.Second), 0, knownTime
	what := fmt.Sprintf("instance profile %s to be known to EC2", m.profile)
	return w.Until(ctx, what, func(ctx context.Context) (bool, error) {
		_, err := api.RunInstances(ctx, in)
		switch code := errorCode(err); {
		case err == nil, code == "DryRunOperation":
			return true, nil
		case code == "InvalidParameterValue" && strings.Contains(strings.ToLower(err.Error()), "instance profile"),
			awsx.Class(err) == awsx.NotYet:
			return false, nil
		default:
			return false, s.fail("try a launch with instance profile "+m.profile, err)
		}
	})
}
