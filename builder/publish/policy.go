// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import "encoding/json"

// iamActions are the IAM actions of the calls that publishing makes: those of
// ports.go, plus ec2:CreateTags, which EC2 checks for tags given at creation.
func iamActions() []string {
	return []string{
		"ebs:CompleteSnapshot",
		"ebs:PutSnapshotBlock",
		"ebs:StartSnapshot",
		"ec2:CreateTags",
		"ec2:DeleteSnapshot",
		"ec2:DeregisterImage",
		"ec2:DescribeImages",
		"ec2:DescribeSnapshots",
		"ec2:RegisterImage",
	}
}

// IAMPolicy is the least policy that publishing needs, as a JSON document.
func IAMPolicy() string {
	type statement struct {
		Effect   string
		Action   []string
		Resource string
	}
	policy := struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{"Allow", iamActions(), "*"}}}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return "" // a struct of strings always encodes
	}
	return string(text)
}
