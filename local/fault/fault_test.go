// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNthAndTimes(t *testing.T) {
	for name, tc := range map[string]struct {
		nth, times int
		want       string // of six calls, x is a fault
	}{
		"always":      {0, 0, "xxxxxx"},
		"once":        {0, 1, "x....."},
		"third on":    {3, 0, "..xxxx"},
		"third twice": {3, 2, "..xx.."},
	} {
		t.Run(name, func(t *testing.T) {
			var s Set
			_, err := s.Add(Rule{Action: "Put*", Kind: Drop, Nth: tc.nth, Times: tc.times})
			require.NoError(t, err)
			got := ""
			for range 6 {
				_, due := s.Next("ebs", "r", "PutSnapshotBlock")
				got += map[bool]string{true: "x", false: "."}[due]
				_, other := s.Next("ebs", "r", "GetSnapshotBlock")
				require.False(t, other)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestFirstDueRuleWins(t *testing.T) {
	var s Set
	for _, r := range []Rule{{Action: "A", Kind: Drop, Nth: 2, Times: 1}, {Action: "*", Service: "ec2", Kind: Deny}, {Action: "A", Region: "r2", Kind: LostReply}} {
		_, err := s.Add(r)
		require.NoError(t, err)
	}
	var kinds []Kind
	for range 3 {
		r, due := s.Next("ec2", "r1", "A")
		require.True(t, due)
		kinds = append(kinds, r.Kind)
	}
	require.Equal(t, []Kind{Deny, Drop, Deny}, kinds)
	require.Equal(t, 3, s.List()[1].Seen)
	require.Equal(t, 2, s.List()[1].Hit)
	require.Equal(t, 1, s.Remove("2"))
	require.Equal(t, 2, s.Remove(""))
	require.Equal(t, map[string]int{"ec2:A": 3}, s.Calls())
}

func TestRulesAreChecked(t *testing.T) {
	var s Set
	_, err := s.Add(Rule{Kind: "boom", Nth: -1, Status: 200})
	for _, want := range []string{"kind", "action", "negative", "status 200"} {
		require.ErrorContains(t, err, want)
	}
	_, err = s.Add(Rule{Action: "A", Kind: Error})
	require.ErrorContains(t, err, "code")
	_, err = s.Add(Rule{Action: "A", Kind: Delay})
	require.ErrorContains(t, err, "delay")
	_, err = ParseDeny("ec2:")
	require.Error(t, err)
	r, err := ParseDeny("RegisterImage")
	require.NoError(t, err)
	require.Equal(t, Rule{Action: "RegisterImage", Kind: Deny}, r)
}
