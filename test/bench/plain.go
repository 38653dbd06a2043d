// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"
)

// plainWorkers and plainBlock are what the uploaders in use have.
const (
	plainWorkers = 64
	plainBlock   = 512 << 10
)

// plain is the baseline: every block of the disk is read by one of 64 workers
// with a buffer of its own, and sent with the SDK's default client and retries
// unless it is all zeros. The first error ends it.
func plain(ctx context.Context, endpoint, path string) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithBaseEndpoint(endpoint),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIABENCH", "bench", "")))
	if err != nil {
		return err
	}
	client := ebs.NewFromConfig(cfg)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	out, err := client.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64((info.Size() + gib - 1) / gib)})
	if err != nil {
		return err
	}
	p := &plainUpload{client: client, file: f, snapshot: out.SnapshotId, sums: map[int32][]byte{}}
	group, ctx := errgroup.WithContext(ctx)
	indices := make(chan int32)
	group.Go(func() error {
		defer close(indices)
		for index := range int32(info.Size() / plainBlock) {
			select {
			case indices <- index:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range plainWorkers {
		group.Go(func() error { return p.work(ctx, indices) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return p.complete(context.WithoutCancel(ctx))
}

type plainUpload struct {
	client   *ebs.Client
	file     *os.File
	snapshot *string

	mu   sync.Mutex
	sums map[int32][]byte
}

func (p *plainUpload) work(ctx context.Context, indices <-chan int32) error {
	buf, zeros := make([]byte, plainBlock), make([]byte, plainBlock)
	for index := range indices {
		if _, err := p.file.ReadAt(buf, int64(index)*plainBlock); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if bytes.Equal(buf, zeros) {
			continue
		}
		sum := sha256.Sum256(buf)
		_, err := p.client.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
			SnapshotId: p.snapshot, BlockIndex: aws.Int32(index), BlockData: bytes.NewReader(buf), DataLength: aws.Int32(plainBlock),
			Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		})
		if err != nil {
			return fmt.Errorf("block %d: %w", index, err)
		}
		p.mu.Lock()
		p.sums[index] = sum[:]
		p.mu.Unlock()
	}
	return nil
}

func (p *plainUpload) complete(ctx context.Context) error {
	h := sha256.New()
	most := int32(0)
	for index := range p.sums {
		most = max(most, index)
	}
	for index := range most + 1 {
		h.Write(p.sums[index])
	}
	_, err := p.client.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{
		SnapshotId: p.snapshot, ChangedBlocksCount: aws.Int32(int32(len(p.sums))), Checksum: aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil))),
		ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256, ChecksumAggregationMethod: types.ChecksumAggregationMethodChecksumAggregationLinear,
	})
	return err
}
