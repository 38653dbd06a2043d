// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
)

// statement is one part of an IAM policy.
type statement struct {
	Sid      string
	Effect   string
	Action   []string
	Resource string
}

// statements are the IAM actions of the calls that this builder makes: those of
// ports.go. EC2 and IAM check the tag actions for tags given at creation as well.
func statements() []statement {
	return []statement{
		{"Build", "Allow", []string{
			"ec2:AuthorizeSecurityGroupIngress",
			"ec2:CreateImage",
			"ec2:CreateSecurityGroup",
			"ec2:CreateTags",
			"ec2:DeleteKeyPair",
			"ec2:DeleteSecurityGroup",
			"ec2:DeleteVolume",
			"ec2:DescribeImages",
			"ec2:DescribeInstanceTypeOfferings",
			"ec2:DescribeInstanceTypes",
			"ec2:DescribeInstances",
			"ec2:DescribeKeyPairs",
			"ec2:DescribeSecurityGroups",
			"ec2:DescribeSubnets",
			"ec2:DescribeVolumes",
			"ec2:DescribeVpcs",
			"ec2:ImportKeyPair",
			"ec2:ModifyInstanceAttribute",
			"ec2:RunInstances",
			"ec2:StopInstances",
			"ec2:TerminateInstances",
		}, "*"},
		{"Spot", "Allow", []string{
			"ec2:CreateFleet",
			"ec2:CreateLaunchTemplate",
			"ec2:DeleteFleets",
			"ec2:DeleteLaunchTemplate",
			"ec2:DescribeLaunchTemplates",
		}, "*"},
		{"InstanceProfiles", "Allow", []string{
			"iam:AddRoleToInstanceProfile",
			"iam:CreateInstanceProfile",
			"iam:CreateRole",
			"iam:DeleteInstanceProfile",
			"iam:DeleteRole",
			"iam:DeleteRolePolicy",
			"iam:GetInstanceProfile",
			"iam:GetRole",
			"iam:PassRole",
			"iam:PutRolePolicy",
			"iam:RemoveRoleFromInstanceProfile",
			"iam:TagInstanceProfile",
			"iam:TagRole",
		}, "*"},
		{"SourceParameter", "Allow", []string{"ssm:GetParameter"}, "*"},
		{"SessionManager", "Allow", []string{"ssm:StartSession", "ssm:TerminateSession"}, "*"},
		{"InstanceConnect", "Allow", []string{"ec2-instance-connect:SendSSHPublicKey"}, "*"},
	}
}

// IAMPolicy is the policy that the builder needs with all its options, as a JSON
// document: its own calls, and those of publishing that are not for disks.
func IAMPolicy() string {
	tail := slices.DeleteFunc(publish.IAMActions(), func(a string) bool { return strings.HasPrefix(a, "ebs:") || strings.HasPrefix(a, "s3:") })
	policy := struct {
		Version   string
		Statement []statement
	}{"2012-10-17", append(statements(),
		statement{"Publish", "Allow", tail, "*"},
		statement{"Search", "Allow", []string{"ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks"}, "*"},
		statement{"BootTest", "Allow", boottest.IAMActions(), "*"})}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return "" // a struct of strings always encodes
	}
	return string(text)
}
