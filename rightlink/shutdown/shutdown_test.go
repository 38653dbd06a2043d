// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package shutdown

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

type answers map[string]string

func (a answers) Run(_ context.Context, name string, _ ...string) (string, error) {
	if out, ok := a[name]; ok {
		return out, nil
	}
	return "", errors.New("not found")
}

func TestKind(t *testing.T) {
	for name, tc := range map[string]struct {
		a    answers
		want string
	}{
		"reboot":        {answers{"systemctl": "  10 shutdown.target start waiting\n 12 reboot.target start waiting\n 13 rightlink.service stop running\n"}, "reboot"},
		"poweroff":      {answers{"systemctl": "12 poweroff.target start waiting\n13 ssh.service stop waiting\n"}, "stop"},
		"restart":       {answers{"systemctl": "13 rightlink.service restart running\n", "runlevel": "N 5"}, ""},
		"service stop":  {answers{"systemctl": "13 rightlink.service stop running\n", "runlevel": "N 5"}, "unknown"},
		"restart, down": {answers{"systemctl": "13 rightlink.service restart running\n14 reboot.target start waiting\n"}, "reboot"},
		"reboot leaves": {answers{"systemctl": "12 reboot.target stop waiting\n", "runlevel": "N 5"}, "unknown"},
		"sysv reboot":   {answers{"runlevel": "2 6\n"}, "reboot"},
		"sysv halt":     {answers{"runlevel": "2 0\n"}, "stop"},
		"sysv run":      {answers{"runlevel": "N 2\n"}, "unknown"},
		"openrc reboot": {answers{"rc-status": "reboot\n"}, "reboot"},
		"openrc down":   {answers{"rc-status": "shutdown\n"}, "stop"},
		"openrc run":    {answers{"rc-status": "default\n"}, "unknown"},
		"unknown":       {answers{"runlevel": "unknown"}, "unknown"},
		"nothing":       {answers{}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, Kind(t.Context(), tc.a)) })
	}
}
