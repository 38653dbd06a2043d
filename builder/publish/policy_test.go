// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/stretchr/testify/require"
)

// Every method of the ports is an API call, and every API call needs its IAM
// action in the policy, and no other. That the calls are those of a run is
// tested with the local cloud.
func TestIAMPolicyHoldsTheCallsOfThePorts(t *testing.T) {
	var want []string
	clients := map[string]reflect.Type{
		"ebs": reflect.TypeFor[*ebs.Client](), "ec2": reflect.TypeFor[*ec2.Client](), "s3": reflect.TypeFor[*s3.Client](), "ssm": reflect.TypeFor[*ssm.Client](),
	}
	for _, port := range []reflect.Type{
		reflect.TypeFor[blockStore](), reflect.TypeFor[snapshotKeeper](), reflect.TypeFor[imageKeeper](), reflect.TypeFor[attributeKeeper](),
		reflect.TypeFor[accountReader](), reflect.TypeFor[parameterKeeper](), reflect.TypeFor[objectKeeper](),
	} {
		for i := range port.NumMethod() {
			name := port.Method(i).Name
			found := false
			for service, client := range clients {
				if _, ok := client.MethodByName(name); ok && client.Implements(port) {
					want, found = append(want, service+":"+name), true
				}
			}
			require.True(t, found, "%s.%s is no call of a service", port, name)
		}
	}
	got := IAMActions()
	require.True(t, slices.IsSorted(got))
	require.ElementsMatch(t, want, got)
	for _, a := range got {
		require.Contains(t, IAMPolicy(), `"`+a+`"`)
	}
}
