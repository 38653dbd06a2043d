// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

type silent struct{}

func (silent) Say(string) {}

// sink takes blocks as fast as they come and keeps none.
type sink struct{ *fake }

func (sink) PutSnapshotBlock(_ context.Context, in *ebs.PutSnapshotBlockInput, _ ...func(*ebs.Options)) (*ebs.PutSnapshotBlockOutput, error) {
	_, err := io.Copy(io.Discard, in.BlockData)
	return &ebs.PutSnapshotBlockOutput{}, err
}

// BenchmarkUpload measures finding, reading, hashing and handing over blocks,
// with a service that takes no time.
func BenchmarkUpload(b *testing.B) {
	const blocks = 512
	disk := openDisk(b, diskOf(b, 64<<30, many(blocks)))
	b.SetBytes(blocks * sparse.BlockSize)
	b.ReportAllocs()
	for b.Loop() {
		f := newFake()
		p := publisherOf(b, Config{}, f)
		p.ui, p.regions[0].blocks = silent{}, sink{f}
		_, err := p.upload(b.Context(), p.regions[0], disk, &ledger.Ledger{})
		require.NoError(b, err)
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
