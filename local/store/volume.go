// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// ErrNotPending is returned when blocks are written to a snapshot that no
// longer takes any.
var ErrNotPending = errors.New("snapshot is not pending")

// Sum is the SHA-256 of one block. The zero value says "never written".
type Sum = [sha256.Size]byte

// volume is the data of one snapshot: the raw file, and a file with the sum of
// each block that was written. A snapshot with a parent reads what it lacks from
// hard links to the parent's files until seal copies it, so that the parent may
// be deleted at any time and finished snapshots stand alone.
type volume struct {
	path string // without extension

	mu     sync.RWMutex
	raw    *os.File
	sumsF  *os.File
	sums   []Sum
	sealed bool
	parent *volume
}

func createVolume(path string, sizeGiB int64, parentPath string) (err error) {
	defer func() {
		if err != nil {
			_ = removeVolume(path)
		}
	}()
	if parentPath != "" {
		for _, ext := range []string{".raw", ".sums"} {
			if err := os.Link(parentPath+ext, path+".parent"+ext); err != nil {
				return fmt.Errorf("link parent snapshot: %w", err)
			}
		}
	}
	size := sizeGiB << 30
	for ext, n := range map[string]int64{".raw": size, ".sums": size / BlockSize * sha256.Size} {
		f, err := os.OpenFile(path+ext, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("create snapshot data: %w", err)
		}
		if err := errors.Join(f.Truncate(n), f.Close()); err != nil {
			return fmt.Errorf("create snapshot data: %w", err)
		}
	}
	return nil
}

func removeVolume(path string) error {
	var errs []error
	for _, ext := range []string{".raw", ".sums", ".parent.raw", ".parent.sums"} {
		if err := os.Remove(path + ext); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func openVolume(path string) (*volume, error) {
	v := &volume{path: path}
	var err error
	if v.raw, err = os.OpenFile(path+".raw", os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("open snapshot data: %w", err)
	}
	if v.sumsF, err = os.OpenFile(path+".sums", os.O_RDWR, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshot data: %w", err), v.raw.Close())
	}
	data, err := io.ReadAll(v.sumsF)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read snapshot sums: %w", err), v.close())
	}
	v.sums = make([]Sum, len(data)/sha256.Size)
	for i := range v.sums {
		copy(v.sums[i][:], data[i*sha256.Size:])
	}
	if _, err := os.Stat(path + ".parent.raw"); err == nil {
		if v.parent, err = openVolume(path + ".parent"); err != nil {
			return nil, errors.Join(err, v.close())
		}
	}
	return v, nil
}

func (v *volume) close() error {
	errs := []error{v.raw.Close(), v.sumsF.Close()}
	if v.parent != nil {
		errs = append(errs, v.parent.close())
	}
	return errors.Join(errs...)
}

// put writes one block. An all-zero block that was not written before stays a
// hole, so that the raw file is as sparse as the disk was.
func (v *volume) put(index int, data []byte, sum Sum) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sealed {
		return ErrNotPending
	}
	return v.write(index, data, sum)
}

func (v *volume) write(index int, data []byte, sum Sum) error {
	if v.sums[index] != (Sum{}) || !isZero(data) {
		if _, err := v.raw.WriteAt(data, int64(index)*BlockSize); err != nil {
			return fmt.Errorf("write block %d: %w", index, err)
		}
	}
	if _, err := v.sumsF.WriteAt(sum[:], int64(index)*sha256.Size); err != nil {
		return fmt.Errorf("write sum of block %d: %w", index, err)
	}
	v.sums[index] = sum
	return nil
}

// get reads one block, from the parent where this snapshot has none.
func (v *volume) get(index int) ([]byte, Sum, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	sum := v.sums[index]
	if sum == (Sum{}) && v.parent != nil && index < len(v.parent.sums) {
		return v.parent.get(index)
	}
	data := make([]byte, BlockSize)
	if _, err := v.raw.ReadAt(data, int64(index)*BlockSize); err != nil {
		return nil, sum, fmt.Errorf("read block %d: %w", index, err)
	}
	return data, sum, nil
}

// changed returns how many blocks were written and the linear aggregate of
// their sums: the SHA-256 over the sums in the order of the blocks.
func (v *volume) changed() (int, Sum) {
	h, n := sha256.New(), 0
	for _, s := range v.sums {
		if s != (Sum{}) {
			h.Write(s[:])
			n++
		}
	}
	return n, Sum(h.Sum(nil))
}

// all returns a copy of the sums of all blocks, with the parent's where this
// snapshot has none.
func (v *volume) all() []Sum {
	v.mu.RLock()
	defer v.mu.RUnlock()
	sums := make([]Sum, len(v.sums))
	copy(sums, v.sums)
	if v.parent != nil {
		for i, s := range v.parent.sums {
			if i < len(sums) && sums[i] == (Sum{}) {
				sums[i] = s
			}
		}
	}
	return sums
}

// seal lets verify look at the number and the aggregate of the written blocks;
// when it agrees, no further block is taken.
func (v *volume) seal(verify func(written int, aggregate Sum) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sealed {
		return ErrNotPending
	}
	if err := verify(v.changed()); err != nil {
		return err
	}
	v.sealed = true
	return nil
}

// merge copies what only the parent has, drops the links to the parent, and
// returns the number of bytes in blocks. It may be repeated after a crash.
func (v *volume) merge() (n int64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sealed = true
	if v.parent != nil {
		for i, s := range v.parent.sums {
			if i >= len(v.sums) || v.sums[i] != (Sum{}) || s == (Sum{}) {
				continue
			}
			data, _, err := v.parent.get(i)
			if err == nil {
				err = v.write(i, data, s)
			}
			if err != nil {
				return 0, fmt.Errorf("copy block %d of the parent: %w", i, err)
			}
		}
		if err := errors.Join(v.parent.close(), removeVolume(v.parent.path)); err != nil {
			return 0, fmt.Errorf("drop link to parent: %w", err)
		}
		v.parent = nil
	}
	for _, s := range v.sums {
		if s != (Sum{}) {
			n += BlockSize
		}
	}
	return n, nil
}

func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}
