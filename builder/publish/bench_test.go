// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

type silent struct{}

func (silent) Say(string) {}

// BenchmarkUpload measures reading, hashing and handing over blocks, with a
// service that takes no time.
func BenchmarkUpload(b *testing.B) {
	const blocks = 512
	path := diskOf(b, 64<<30, many(blocks))
	f := newFake()
	p := publisherOf(b, Config{}, f)
	p.ui = silent{}
	disk := openDisk(b, path)
	b.SetBytes(blocks * sparse.BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		clear(f.blocks)
		_, err := p.upload(b.Context(), p.regions[0], disk, &ledger.Ledger{})
		if err != nil && f.sealed == nil {
			require.NoError(b, err)
		}
		f.sealed = nil
	}
}

// BenchmarkReadAndHash is what is left of it without the service.
func BenchmarkReadAndHash(b *testing.B) {
	const blocks = 512
	disk := openDisk(b, diskOf(b, 64<<30, many(blocks)))
	buf := make([]byte, sparse.BlockSize)
	b.SetBytes(blocks * sparse.BlockSize)
	for b.Loop() {
		for index, err := range disk.Blocks() {
			require.NoError(b, err)
			require.NoError(b, disk.Read(index, buf))
			s := sparse.Checksum(buf)
			_, _ = io.Discard.Write(s[:])
		}
	}
}
