// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package dirlock

// Lock locks nothing: directories cannot be locked on this system.
func Lock(string) (unlock func(), err error) { return func() {}, nil }

// Try never finds a lock free: directories cannot be locked on this system.
func Try(string) (unlock func(), free bool) { return nil, false }
