// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPacer(t *testing.T) {
	p := pacer{longest: time.Minute}
	steps := []struct {
		name string
		r    Report
		err  error
		want time.Duration
	}{
		{"the first", Report{}, nil, 10 * time.Second},
		{"quiet", Report{}, nil, 15 * time.Second},
		{"quiet", Report{}, nil, 22500 * time.Millisecond},
		{"news", Report{Appeared: 1}, nil, 10 * time.Second},
		{"busy", Report{Busy: true}, nil, 10 * time.Second},
		{"quiet", Report{}, nil, 15 * time.Second},
		{"throttled", Report{Throttled: 1}, nil, 2 * time.Minute},
		{"throttled", Report{Throttled: 1, Busy: true}, nil, 4 * time.Minute},
		{"an error", Report{}, errors.New("x"), 8 * time.Minute},
		{"the limit", Report{}, errors.New("x"), 10 * time.Minute},
		{"better", Report{Appeared: 5}, nil, 5 * time.Minute},
		{"better", Report{}, nil, 150 * time.Second},
		{"better", Report{}, nil, 75 * time.Second},
		{"well", Report{}, nil, time.Minute},
		{"quiet", Report{}, nil, time.Minute},
	}
	for i, s := range steps {
		got := p.next(s.r, s.err)
		require.LessOrEqual(t, got, s.want, "%d %s", i, s.name)
		require.GreaterOrEqual(t, got, s.want*9/10, "%d %s", i, s.name)
	}
	fast := pacer{longest: 5 * time.Second}
	require.LessOrEqual(t, fast.next(Report{Busy: true}, nil), 5*time.Second)
	rare := pacer{longest: 24 * time.Hour}
	require.LessOrEqual(t, rare.next(Report{}, errors.New("x")), 24*time.Hour)
}
