// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package kms

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResolve(t *testing.T) {
	const region, account, id = "eu-west-1", "000000000000", "1234abcd-12ab-34cd-56ef-1234567890ab"
	const arn = "arn:aws:kms:eu-west-1:000000000000:key/" + id
	alias, ok := Resolve(region, account, "alias/right")
	require.True(t, ok)
	for name, want := range map[string]string{
		id:  arn,
		arn: arn,
		"arn:aws:kms:eu-west-1:000000000000:alias/right":   alias,
		"arn:aws:kms:eu-west-1:000000000000:alias/aws/ebs": Managed(region, account),
		"alias/aws/ebs":                                Managed(region, account),
		"mrk-0123456789abcdef0123456789abcdef":         "arn:aws:kms:eu-west-1:000000000000:key/mrk-0123456789abcdef0123456789abcdef",
		"arn:aws:kms:eu-west-1:111111111111:key/" + id: "arn:aws:kms:eu-west-1:111111111111:key/" + id,
		"arn:aws:kms:us-east-1:000000000000:key/" + id: "",
		"arn:aws:s3:eu-west-1:000000000000:key/" + id:  "",
		"arn:aws:kms:eu-west-1:000000000000:grant/x":   "",
		"arn:aws:kms": "",
		"alias/":      "",
		"my key":      "",
		"":            "",
	} {
		got, ok := Resolve(region, account, name)
		require.Equal(t, want, got, name)
		require.Equal(t, want != "", ok, name)
	}
	require.NotEqual(t, alias, Managed(region, account))
}
