// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Options say how blocks are read. The zero value is good.
type Options struct {
	// Concurrency is the most requests at a time. Default 32.
	Concurrency int
	// Ahead is how many blocks are read ahead of each that is asked for. Default 8.
	Ahead int
	// AttemptTimeout is how long one request may take. Default 30s.
	AttemptTimeout time.Duration
	// Tries is how often a request is made at most. Default 8.
	Tries int
	// Pause is the time before the second try; it doubles. Default 200ms.
	Pause time.Duration
	// NotYet is how long a new snapshot may be unknown to some of the service's
	// machines. Default: it is known.
	NotYet time.Duration
}

// longPause bounds the time between two tries.
const longPause = 10 * time.Second

func (o Options) withDefaults() Options {
	o.Concurrency = cmp.Or(o.Concurrency, 32)
	o.Ahead = cmp.Or(o.Ahead, 8)
	o.AttemptTimeout = cmp.Or(o.AttemptTimeout, 30*time.Second)
	o.Tries = cmp.Or(o.Tries, 8)
	o.Pause = cmp.Or(o.Pause, 200*time.Millisecond)
	return o
}

// most is how many blocks are kept: enough for what is on its way, and for each of
// the readers that a machine has use for to find what was read ahead of it.
func (o Options) most() int {
	return max(2*o.Concurrency, 2*runtime.GOMAXPROCS(0)*(o.Ahead+1))
}

// list reads the list of blocks, page by page.
func (d *Disk) list() error {
	in := &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(d.id)}
	began := time.Now()
	for {
		var page *ebs.ListSnapshotBlocksOutput
		err := d.try(began, func(ctx context.Context) (err error) {
			page, err = d.api.ListSnapshotBlocks(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
		d.size, d.block = aws.ToInt64(page.VolumeSize)*sparse.GiB, int64(aws.ToInt32(page.BlockSize))
		if d.block <= 0 || d.size <= 0 {
			return fmt.Errorf("the service tells a volume of %d bytes in blocks of %d", d.size, d.block)
		}
		for _, b := range page.Blocks {
			i := int64(aws.ToInt32(b.BlockIndex))
			if _, twice := d.token[i]; twice || i < 0 || i*d.block >= d.size {
				return fmt.Errorf("the service tells of block %d twice, or outside of the volume", i)
			}
			d.index, d.token[i] = append(d.index, i), aws.ToString(b.BlockToken)
		}
		if aws.ToString(page.NextToken) == "" {
			return nil
		}
		in.NextToken = page.NextToken
	}
}

// fetch reads one block, whose sum must be the one that the service gives.
func (d *Disk) fetch(index int64) ([]byte, error) {
	var data []byte
	select {
	case d.gate <- struct{}{}:
		defer func() { <-d.gate }()
	case <-d.ctx.Done():
		return nil, context.Cause(d.ctx)
	}
	err := d.try(time.Time{}, func(ctx context.Context) error {
		out, err := d.api.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{
			SnapshotId: aws.String(d.id), BlockIndex: aws.Int32(int32(index)), BlockToken: aws.String(d.token[index]),
		})
		if err != nil {
			return err
		}
		data = make([]byte, d.block)
		_, err = io.ReadFull(out.BlockData, data)
		if err := errors.Join(err, out.BlockData.Close()); err != nil {
			return err
		}
		if want := aws.ToString(out.Checksum); want != checksum(data) {
			return fmt.Errorf("%w: the sum is %s, and should be %s", errBroken, checksum(data), want)
		}
		return nil
	})
	return data, err
}

// errBroken is a block that was garbled on its way.
var errBroken = errors.New("the block came broken")

// try makes a request until it works, or a repetition is of no use. began is when
// a snapshot was first asked for that may not be known everywhere.
func (d *Disk) try(began time.Time, request func(context.Context) error) error {
	pause := d.o.Pause
	for n := 1; ; n++ {
		ctx, cancel := context.WithTimeout(d.ctx, d.o.AttemptTimeout)
		err := request(ctx)
		cancel()
		class := awsx.Class(err)
		young := class == awsx.NotYet && time.Since(began) < d.o.NotYet
		again := class == awsx.Throttled || class == awsx.Network || errors.Is(err, errBroken)
		switch {
		case err == nil:
			return nil
		case d.ctx.Err() != nil:
			return context.Cause(d.ctx)
		case !young && (!again || n >= d.o.Tries):
			return err
		}
		timer := time.NewTimer(max(pause/2+rand.N(pause/2+1), awsx.RetryAfter(err))) //nolint:gosec // spreads retries, hides nothing
		select {
		case <-timer.C:
		case <-d.ctx.Done():
			timer.Stop()
			return context.Cause(d.ctx)
		}
		pause = min(2*pause, longPause)
	}
}
