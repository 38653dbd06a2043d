// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
)

// fakeRun answers commands by their first words and records all of them.
type fakeRun struct {
	fail map[string]int // how often a command fails
	out  map[string]string
	got  []string
}

func (f *fakeRun) Run(_ context.Context, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	f.got = append(f.got, line)
	for prefix := range f.fail {
		if strings.HasPrefix(line, prefix) && f.fail[prefix] > 0 {
			f.fail[prefix]--
			return "", errors.New("exit status 1")
		}
	}
	return f.out[line], nil
}

func TestInstaller(t *testing.T) {
	only := func(program string) func(string) (string, error) {
		return func(name string) (string, error) {
			if name == program {
				return "/usr/bin/" + name, nil
			}
			return "", os.ErrNotExist
		}
	}
	fake := &fakeRun{fail: map[string]int{"apt-get -q -y": 2}, out: map[string]string{"dpkg-query -W -f ${db:Status-Status} -- curl": "installed"}}
	c := clock.NewFake(time.Now())
	require.NoError(t, Installer{Run: fake, Clock: c, Look: only("apt-get")}.Install(t.Context(), []string{"curl", "jq"}))
	require.Equal(t, []string{
		"dpkg-query -W -f ${db:Status-Status} -- curl", "dpkg-query -W -f ${db:Status-Status} -- jq",
		"apt-get -q -y --no-install-recommends install -- jq", "apt-get -q update",
		"apt-get -q -y --no-install-recommends install -- jq", "apt-get -q update",
		"apt-get -q -y --no-install-recommends install -- jq",
	}, fake.got)
	require.Len(t, c.Waits(), 2)

	fake = &fakeRun{fail: map[string]int{"dnf -q -y": 9, "rpm": 1}}
	err := Installer{Run: fake, Clock: c, Look: only("dnf")}.Install(t.Context(), []string{"jq"})
	require.ErrorContains(t, err, "install packages jq")
	require.ErrorIs(t, Installer{Run: fake, Clock: c, Look: only("none")}.Install(t.Context(), []string{"jq"}), ErrNoPackageManager)
	require.ErrorContains(t, Installer{Run: fake, Clock: c, Look: only("dnf")}.Install(t.Context(), []string{"-x"}), "not the name of a package")
	require.NoError(t, Installer{Run: fake, Clock: c, Look: only("none")}.Install(t.Context(), nil))
}
