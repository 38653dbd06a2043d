// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"errors"
	"io"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// pageSize is that of the header of a swap area on the machines that EC2 has.
const pageSize = 4096

// swapUsed tells whether a file is a swap area and whether it holds anything but
// its header.
func swapUsed(r io.Reader, size int64) (used, swap bool) {
	head := make([]byte, pageSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return false, false
	}
	switch string(head[pageSize-10:]) {
	case "SWAPSPACE2", "SWAP-SPACE":
	case "S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x00":
		return true, true
	default:
		return false, false
	}
	buf := make([]byte, 256<<10)
	for read := int64(pageSize); read < size; {
		n, err := io.ReadFull(r, buf)
		if !sparse.IsZero(buf[:n]) {
			return true, true
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil {
			break
		}
		read += int64(n)
	}
	return false, true
}
