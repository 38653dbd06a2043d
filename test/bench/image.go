// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// picture is a disk to upload.
type picture struct {
	name, path string
	parent     string // manifest of what is there already, or ""
	// cached: the holes are in the page cache, because somebody has read the
	// whole disk already. Nobody has who has just built it.
	cached bool
}

// makeImages makes the disks: one like an image, most of it holes; one full of
// data; and the latter with 2 % of its blocks changed since it was uploaded.
func makeImages(dir string) ([]picture, error) {
	rng := rand.NewChaCha8([32]byte{1})
	like, dense, changed := filepath.Join(dir, "sparse.raw"), filepath.Join(dir, "random.raw"), filepath.Join(dir, "changed.raw")
	// 150 stretches of 4 MiB, spread over 8 GiB.
	if err := fill(like, 8*gib, 150, 4*mib, rng); err != nil {
		return nil, err
	}
	if err := fill(dense, gib, 256, 4*mib, rng); err != nil {
		return nil, err
	}
	if err := fill(changed, gib, 256, 4*mib, rng); err != nil {
		return nil, err
	}
	manifest := filepath.Join(dir, "changed.blocks")
	if err := describe(changed, manifest); err != nil {
		return nil, err
	}
	if err := change(changed, 50, rng); err != nil {
		return nil, err
	}
	return []picture{
		{name: "sparse", path: like},
		{name: "sparse, read", path: like, cached: true},
		{name: "random", path: dense},
		{name: "incremental", path: changed, parent: manifest},
	}, nil
}

// fill makes a disk with n stretches of random data at equal distances.
func fill(path string, size int64, n, length int64, rng *rand.ChaCha8) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buf := make([]byte, length)
	err = f.Truncate(size)
	for i := range n {
		_, _ = rng.Read(buf)
		_, werr := f.WriteAt(buf, size/n*i/sparse.BlockSize*sparse.BlockSize)
		err = errors.Join(err, werr)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// change writes one block in so many anew.
func change(path string, every int64, rng *rand.ChaCha8) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	buf := make([]byte, sparse.BlockSize)
	for index := every / 2; index < info.Size()/sparse.BlockSize; index += every {
		_, _ = rng.Read(buf)
		_, werr := f.WriteAt(buf, index*sparse.BlockSize)
		err = errors.Join(err, werr)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// settle brings the page cache into the state in which an upload finds it: what
// is data was just written, holes were never looked at unless the disk is said
// to be cached.
func (p picture) settle() error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if !p.cached {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return err
		}
		return p.readData()
	}
	_, err = io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f})
	return err
}

func (p picture) readData() error {
	d, err := sparse.Open(p.path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	buf := make([]byte, d.BlockSize())
	for index, err := range d.Blocks() {
		if err := errors.Join(err, d.Read(index, buf)); err != nil {
			return err
		}
	}
	return nil
}

// describe writes the manifest of a disk as if it had been uploaded.
func describe(path, manifest string) error {
	d, err := sparse.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	m := &upload.Manifest{BlockSize: d.BlockSize(), VolumeGiB: d.SizeGiB(), Sums: &sparse.Linear{}, Snapshots: map[string]string{region: parentID}}
	buf := make([]byte, d.BlockSize())
	for index, err := range d.Blocks() {
		if err := errors.Join(err, d.Read(index, buf)); err != nil {
			return fmt.Errorf("describe %s: %w", path, err)
		}
		if !sparse.IsZero(buf) {
			m.Sums.Add(index, sparse.Checksum(buf))
		}
	}
	return m.WriteFile(manifest)
}
