// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/kms"
)

// TestEncryptionOutcomes is the table of the EBS user guide.
func TestEncryptionOutcomes(t *testing.T) {
	c := start(t, quiet(t))
	ctx := t.Context()
	arn, managed := "arn:aws:kms:"+region+":"+account+":key/"+ownKey, kms.Managed(region, account)
	clear := c.snapshot("", map[int32]byte{0: 1})
	made, err := c.ec2.CopySnapshot(ctx, &ec2.CopySnapshotInput{SourceSnapshotId: &clear, SourceRegion: aws.String(region), Encrypted: aws.Bool(true), KmsKeyId: &arn})
	require.NoError(t, err)
	locked := *made.SnapshotId
	yes, no := aws.Bool(true), aws.Bool(false)
	const refused = "refused"
	for _, tc := range []struct {
		name      string
		parent    *string
		encrypted *bool
		key       *string
		want      string // the key, "" for none
		byDefault string // the same with encryption by default
	}{
		{"clear parent", &clear, nil, nil, "", refused},
		{"clear parent, key", &clear, nil, &arn, refused, refused},
		{"clear parent, encrypted", &clear, yes, nil, refused, refused},
		{"locked parent", &locked, nil, nil, arn, arn},
		{"locked parent, key", &locked, nil, &arn, refused, refused},
		{"locked parent, clear", &locked, no, nil, refused, refused},
		{"encrypted", nil, yes, nil, managed, managed},
		{"encrypted, key", nil, yes, &arn, arn, arn},
		{"clear", nil, no, nil, "", refused},
		{"clear, key", nil, no, &arn, refused, refused},
		{"nothing", nil, nil, nil, "", managed},
		{"key", nil, nil, &arn, refused, arn},
		{"key elsewhere", nil, yes, aws.String("arn:aws:kms:us-east-1:" + account + ":key/" + ownKey), refused, refused},
		{"key id", nil, yes, aws.String(ownKey), refused, refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for i, want := range []string{tc.want, tc.byDefault} {
				set := second(c.ec2.DisableEbsEncryptionByDefault(ctx, &ec2.DisableEbsEncryptionByDefaultInput{}))
				if i == 1 {
					set = second(c.ec2.EnableEbsEncryptionByDefault(ctx, &ec2.EnableEbsEncryptionByDefaultInput{}))
				}
				require.NoError(t, set)
				out, err := c.ebs.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ParentSnapshotId: tc.parent, Encrypted: tc.encrypted, KmsKeyArn: tc.key})
				if want == refused {
					require.Contains(t, []string{"ValidationException", "ResourceNotFoundException"}, codeOf(t, err))
					continue
				}
				require.NoError(t, err)
				require.Equal(t, want, aws.ToString(out.KmsKeyArn))
				got := c.shownSnapshot(c.ec2, *out.SnapshotId)
				require.Equal(t, want != "", *got.Encrypted)
				require.Equal(t, want, aws.ToString(got.KmsKeyId))
				require.Equal(t, map[bool]ebstypes.SSEType{true: "sse-kms", false: "none"}[want != ""], out.SseType)
			}
		})
	}
}

func TestDefaultKey(t *testing.T) {
	c := start(t, quiet(t))
	ctx := t.Context()
	get := func() string {
		out, err := c.ec2.GetEbsDefaultKmsKeyId(ctx, &ec2.GetEbsDefaultKmsKeyIdInput{})
		require.NoError(t, err)
		return *out.KmsKeyId
	}
	managed := get()
	require.Equal(t, kms.Managed(region, account), managed)
	set, err := c.ec2.ModifyEbsDefaultKmsKeyId(ctx, &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: aws.String("alias/mine")})
	require.NoError(t, err)
	require.Equal(t, *set.KmsKeyId, get())
	out, err := c.ebs.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), Encrypted: aws.Bool(true)})
	require.NoError(t, err)
	require.Equal(t, get(), *out.KmsKeyArn)
	_, err = c.ec2.ModifyEbsDefaultKmsKeyId(ctx, &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: aws.String("no key")})
	require.Equal(t, "InvalidParameterValue", codeOf(t, err))
	require.NoError(t, second(c.ec2.ResetEbsDefaultKmsKeyId(ctx, &ec2.ResetEbsDefaultKmsKeyIdInput{})))
	require.Equal(t, managed, get())
	is, err := c.ec2.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
	require.NoError(t, err)
	require.False(t, *is.EbsEncryptionByDefault)
}
