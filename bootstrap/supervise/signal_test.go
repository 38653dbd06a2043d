// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package supervise_test

import (
	"context"
	"os/signal"
	"syscall"
)

func signalled() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}
