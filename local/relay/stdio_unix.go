// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package relay

import (
	"errors"
	"os"
	"syscall"
)

// Stdout is the process's standard output as a HalfCloser. QEMU hands a relay
// one socket as standard input and output, where closing the file would not
// end the stream: the socket's write side has to be shut down.
type Stdout struct{ *os.File }

// CloseWrite ends the output for the reader and keeps the input side open.
func (s Stdout) CloseWrite() error {
	err := syscall.Shutdown(int(s.Fd()), syscall.SHUT_WR)
	if errors.Is(err, syscall.ENOTSOCK) {
		return s.Close() // a pipe or a file, when run by hand
	}
	return err
}
