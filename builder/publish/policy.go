// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"encoding/json"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
)

// IAMActions are the IAM actions of the calls that publishing makes with all
// its options: those of ports.go. EC2 checks ec2:CreateTags also for tags given
// at creation. sts:GetCallerIdentity is allowed to everybody.
func IAMActions() []string {
	return []string{
		"ebs:CompleteSnapshot",
		"ebs:GetSnapshotBlock",
		"ebs:ListSnapshotBlocks",
		"ebs:PutSnapshotBlock",
		"ebs:StartSnapshot",
		"ec2:CopyImage",
		"ec2:CreateTags",
		"ec2:DeleteSnapshot",
		"ec2:DeregisterImage",
		"ec2:DescribeImageAttribute",
		"ec2:DescribeImages",
		"ec2:DescribeSnapshots",
		"ec2:DisableImageDeregistrationProtection",
		"ec2:EnableImageDeprecation",
		"ec2:EnableImageDeregistrationProtection",
		"ec2:GetEbsDefaultKmsKeyId",
		"ec2:GetEbsEncryptionByDefault",
		"ec2:GetImageBlockPublicAccessState",
		"ec2:GetSnapshotBlockPublicAccessState",
		"ec2:ModifyImageAttribute",
		"ec2:ModifySnapshotAttribute",
		"ec2:RegisterImage",
		"s3:GetObject",
		"s3:PutObject",
		"ssm:DeleteParameter",
		"ssm:GetParameter",
		"ssm:PutParameter",
	}
}

// keyActions are what EBS does with a KMS key of one's own in the caller's
// name: https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
func keyActions() []string {
	return []string{
		"kms:CreateGrant",
		"kms:Decrypt",
		"kms:DescribeKey",
		"kms:GenerateDataKeyWithoutPlaintext",
		"kms:ReEncryptFrom",
		"kms:ReEncryptTo",
	}
}

// IAMPolicy is the policy that publishing needs with all its options, as a JSON
// document. BootTest is for boot_test, KeysOfOnesOwn for kms_key_id and
// region_kms_key_ids.
func IAMPolicy() string {
	type statement struct {
		Sid      string
		Effect   string
		Action   []string
		Resource string
	}
	policy := struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{
		{"Publish", "Allow", IAMActions(), "*"},
		{"BootTest", "Allow", boottest.IAMActions(), "*"},
		{"KeysOfOnesOwn", "Allow", keyActions(), "*"},
	}}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return "" // a struct of strings always encodes
	}
	return string(text)
}
