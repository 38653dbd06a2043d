// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	connect "github.com/aws/aws-sdk-go-v2/service/ec2instanceconnect"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/require"
)

// Every method of the ports is an API call, and every API call needs its IAM
// action in the policy, and no other.
func TestIAMPolicyHoldsTheCallsOfThePorts(t *testing.T) {
	want := map[string]bool{"ec2:CreateTags": true, "iam:PassRole": true, "iam:TagRole": true, "iam:TagInstanceProfile": true}
	for prefix, ports := range map[string]struct{ client, port reflect.Type }{
		"ec2:": {reflect.TypeFor[*ec2.Client](), reflect.TypeFor[control]()},
		"iam:": {reflect.TypeFor[*iam.Client](), reflect.TypeFor[access]()},
		"ssm:": {reflect.TypeFor[*ssm.Client](), reflect.TypeFor[interface {
			sessions
			parameterReader
		}]()},
		"ec2-instance-connect:": {reflect.TypeFor[*connect.Client](), reflect.TypeFor[keyPusher]()},
	} {
		for i := range ports.port.NumMethod() {
			name := ports.port.Method(i).Name
			_, there := ports.client.MethodByName(name)
			require.True(t, there, name)
			want[prefix+name] = true
		}
	}
	got := map[string]bool{}
	for _, s := range statements() {
		for _, a := range s.Action {
			require.False(t, got[a], "%s is there twice", a)
			got[a] = true
			require.Contains(t, IAMPolicy(), `"`+a+`"`)
		}
	}
	require.Equal(t, want, got)
	require.NotContains(t, IAMPolicy(), "ebs:Put", "nothing is uploaded")
	require.Contains(t, IAMPolicy(), "ebs:GetSnapshotBlock")
	require.Contains(t, IAMPolicy(), "ec2:GetConsoleOutput")
	require.Contains(t, IAMPolicy(), "ec2:CopyImage")
}
