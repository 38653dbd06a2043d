// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Copy writes the snapshot into a new sparse file, which is removed again when
// that fails. progress is called with the bytes that were written and those
// there are; it may be nil.
func (d *Disk) Copy(path string, progress func(done, total int64)) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := file.Truncate(d.size); err != nil {
		return fmt.Errorf("copy %s: %w", d.id, err)
	}
	var done atomic.Int64
	group, ctx := errgroup.WithContext(d.ctx)
	group.SetLimit(d.o.Concurrency)
	for _, index := range d.index {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			data, err := d.fetch(index)
			if err != nil {
				return fmt.Errorf("block %d of %s: %w", index, d.id, err)
			}
			if !sparse.IsZero(data) {
				if _, err := file.WriteAt(data, index*d.block); err != nil {
					return err
				}
			}
			if progress != nil {
				progress(done.Add(d.block), d.Data())
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(d.ctx)
}
