// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// manifestFormat names the format and its version.
const manifestFormat = "rightimage-blocks/1"

// maxBlocks is the number of blocks of the largest volume, of 64 TiB.
const maxBlocks = 64 << 40 / sparse.BlockSize

// Manifest says what a disk held when it was uploaded, block by block, and
// which snapshots hold exactly that. With it the next upload sends only what
// has changed.
//
// As a file it is gzip of a JSON line and, for each block that is not all
// zeros in ascending order, the distance from the block before (a uvarint; from
// -1 for the first) and the 32 bytes of its SHA-256.
type Manifest struct {
	BlockSize int64
	VolumeGiB int64
	// Sums are those of all blocks that are not all zeros.
	Sums *sparse.Linear
	// Snapshots are the ids of the snapshots that hold it, by region.
	Snapshots map[string]string
}

type manifestHead struct {
	Format    string            `json:"format"`
	BlockSize int64             `json:"block_size"`
	VolumeGiB int64             `json:"volume_gib"`
	Blocks    int               `json:"blocks"`
	Checksum  string            `json:"checksum"`
	Snapshots map[string]string `json:"snapshots"`
}

// Encode writes the manifest.
func (m *Manifest) Encode(w io.Writer) error {
	zip := gzip.NewWriter(w)
	out := bufio.NewWriter(zip)
	head := manifestHead{
		Format: manifestFormat, BlockSize: m.BlockSize, VolumeGiB: m.VolumeGiB,
		Blocks: m.Sums.Len(), Checksum: m.Sums.Aggregate().Base64(), Snapshots: m.Snapshots,
	}
	err := json.NewEncoder(out).Encode(head)
	var record []byte
	last := int64(-1)
	for index, sum := range m.Sums.All() {
		record = binary.AppendUvarint(record[:0], uint64(index-last))
		record = append(record, sum[:]...)
		_, werr := out.Write(record)
		err = errors.Join(err, werr)
		last = index
		if err != nil {
			break
		}
	}
	if err := errors.Join(err, out.Flush(), zip.Close()); err != nil {
		return fmt.Errorf("write block manifest: %w", err)
	}
	return nil
}

// DecodeManifest reads a manifest. What is damaged, or not a manifest of this
// version, is an error.
func DecodeManifest(r io.Reader) (*Manifest, error) {
	m, err := decode(r)
	if err != nil {
		return nil, fmt.Errorf("read block manifest: %w", err)
	}
	return m, nil
}

func decode(r io.Reader) (*Manifest, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(zip, 64<<10)
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, noEOF(err)
	}
	var head manifestHead
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, err
	}
	switch {
	case head.Format != manifestFormat:
		return nil, fmt.Errorf("its format is %q, not %q", head.Format, manifestFormat)
	case head.BlockSize <= 0 || head.Blocks < 0 || head.Blocks > maxBlocks:
		return nil, fmt.Errorf("%d blocks of %d bytes cannot be", head.Blocks, head.BlockSize)
	}
	m := &Manifest{BlockSize: head.BlockSize, VolumeGiB: head.VolumeGiB, Sums: &sparse.Linear{}, Snapshots: head.Snapshots}
	last := int64(-1)
	for range head.Blocks {
		distance, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, noEOF(err)
		}
		if distance == 0 || distance > maxBlocks || last+int64(distance) >= maxBlocks {
			return nil, fmt.Errorf("a block lies %d behind block %d", distance, last)
		}
		last += int64(distance)
		var sum sparse.Sum
		if _, err := io.ReadFull(in, sum[:]); err != nil {
			return nil, noEOF(err)
		}
		m.Sums.Add(last, sum)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) { // gzip checks its own sum here
		return nil, errors.Join(errors.New("it does not end where it should"), err)
	}
	if got := m.Sums.Aggregate().Base64(); got != head.Checksum {
		return nil, fmt.Errorf("the sum of its blocks is %s, not %s", got, head.Checksum)
	}
	return m, nil
}

// noEOF: an end where more was promised is no end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// WriteFile writes the manifest to a file, whole or not at all.
func (m *Manifest) WriteFile(path string) error {
	var buf bytes.Buffer
	if err := m.Encode(&buf); err != nil {
		return err
	}
	return atomicfile.Write(path, buf.Bytes(), 0o644)
}

// ReadManifest reads the manifest in a file.
func ReadManifest(path string) (*Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read block manifest: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	m, err := DecodeManifest(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}
