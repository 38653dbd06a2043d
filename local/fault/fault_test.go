// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"testing"
	"time"

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
				_, due := s.Next(Call{Service: "ebs", Region: "r", Action: "PutSnapshotBlock"})
				got += map[bool]string{true: "x", false: "."}[due]
				_, other := s.Next(Call{Service: "ebs", Region: "r", Action: "GetSnapshotBlock"})
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
		r, due := s.Next(Call{Service: "ec2", Region: "r1", Action: "A"})
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
	_, err = s.Add(Rule{Action: "A", Kind: Unseen, Percent: 101, PerSecond: -1})
	for _, want := range []string{"times", "percent", "rate"} {
		require.ErrorContains(t, err, want)
	}
	_, err = ParseDeny("ec2:")
	require.Error(t, err)
	r, err := ParseDeny("RegisterImage")
	require.NoError(t, err)
	require.Equal(t, Rule{Action: "RegisterImage", Kind: Deny}, r)
}

// strike makes n calls and tells how many went wrong.
func strike(s *Set, n int, c Call) (hits int) {
	for range n {
		if _, due := s.Next(c); due {
			hits++
		}
	}
	return hits
}

func TestPercentIsDrawnByLot(t *testing.T) {
	call := Call{Service: "ebs", Action: "PutSnapshotBlock"}
	run := func(r Rule) int {
		var s Set
		_, err := s.Add(r)
		require.NoError(t, err)
		return strike(&s, 2000, call)
	}
	rule := Rule{Action: "*", Kind: Throttle, Percent: 10, Seed: 7}
	hits := run(rule)
	require.InDelta(t, 200, hits, 60)
	require.Equal(t, hits, run(rule), "the same seed gives the same lots")
	rule.Times = 5
	require.Equal(t, 5, run(rule))
	rule.Times, rule.Percent = 0, 100
	require.Equal(t, 2000, run(rule))
}

func TestRateIsPerRegion(t *testing.T) {
	var s Set
	_, err := s.Add(Rule{Action: "*", Kind: Throttle, PerSecond: 100})
	require.NoError(t, err)
	for _, region := range []string{"a", "b"} {
		require.InDelta(t, 40, strike(&s, 50, Call{Region: region, Action: "X"}), 3, "ten at once, the rest is too much")
	}
	time.Sleep(60 * time.Millisecond)
	require.Less(t, strike(&s, 5, Call{Region: "a", Action: "X"}), 3, "the bucket fills again")
}

func TestRuleEnds(t *testing.T) {
	var s Set
	rule, err := s.Add(Rule{Action: "*", Kind: Hang, ForMS: 40})
	require.NoError(t, err)
	require.Equal(t, 3, strike(&s, 3, Call{Action: "X"}))
	left, ends := rule.Left(time.Now())
	require.True(t, ends)
	require.LessOrEqual(t, left, 40*time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	require.Zero(t, strike(&s, 3, Call{Action: "X"}))
	s.Remove(rule.ID)
	<-rule.Over()
}

func TestNewThingsAreUnseen(t *testing.T) {
	var s Set
	_, err := s.Add(Rule{Action: "Describe*", Kind: Unseen, Times: 2})
	require.NoError(t, err)
	names := func(list ...string) Call {
		return Call{Action: "DescribeImages", New: func(time.Time) []string { return list }}
	}
	require.Equal(t, 2, strike(&s, 5, names("ami-1")))
	require.Equal(t, 2, strike(&s, 5, names("ami-1", "ami-2")), "each thing has its own count")
	require.Zero(t, strike(&s, 5, names()))
	require.Zero(t, strike(&s, 5, Call{Action: "DescribeImages"}))
}
