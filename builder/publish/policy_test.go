// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"
)

// Every method of the ports is an API call, and every API call needs its IAM
// action in the policy, and no other.
func TestIAMPolicyHoldsTheCallsOfThePorts(t *testing.T) {
	want := map[string]bool{"ec2:CreateTags": true}
	ec2Client, ebsClient := reflect.TypeFor[*ec2.Client](), reflect.TypeFor[*ebs.Client]()
	for _, port := range []reflect.Type{reflect.TypeFor[blockWriter](), reflect.TypeFor[snapshotKeeper](), reflect.TypeFor[imageKeeper]()} {
		for i := range port.NumMethod() {
			name := port.Method(i).Name
			switch {
			case has(ebsClient, name):
				want["ebs:"+name] = true
			case has(ec2Client, name):
				want["ec2:"+name] = true
			default:
				t.Errorf("%s.%s is no call of EC2 or EBS", port, name)
			}
		}
	}
	got := map[string]bool{}
	for _, a := range iamActions() {
		got[a] = true
		require.True(t, strings.Contains(IAMPolicy(), `"`+a+`"`))
	}
	require.Equal(t, want, got)
}

func has(t reflect.Type, name string) bool {
	_, ok := t.MethodByName(name)
	return ok
}
