// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// loopDevices is losetup on a machine where a loop device was listed so often as
// listed says, and cannot be detached.
type loopDevices struct{ listed, detached int }

func (l *loopDevices) Run(_ context.Context, _ string, args ...string) (string, error) {
	switch {
	case args[0] == "--detach":
		l.detached++
		return "", errors.New("detach failed: No such device or address")
	case l.listed == 0:
		return "", nil
	}
	l.listed--
	return `{"loopdevices": [{"name": "/dev/loop7"}]}`, nil
}

// A busy loop device may go between being listed and being detached.
func TestDetachGone(t *testing.T) {
	l := &loopDevices{listed: 2}
	a := attachment{root: l, disk: "/disk.raw"}
	require.NoError(t, a.detach(t.Context()))
	require.Equal(t, 2, l.detached)
}

// One that stays is told with what losetup says of it.
func TestDetachBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attachment{root: &loopDevices{listed: detachTries}, disk: "/disk.raw"}
		err := a.detach(t.Context())
		require.ErrorContains(t, err, "/disk.raw stays busy")
		require.ErrorContains(t, err, "No such device")
	})
}
