// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// The journal begins with journalMagic. Then comes a row of records:
//
//	kind (1 byte), length of the body (2 bytes), body, CRC-32C of all of it (4 bytes)
//
// with numbers in big endian. The first record is the header. What follows the
// first record that is cut off or damaged is dropped: it was being written when
// the run died. Records are not forced to the disk one by one: they survive the
// process, and should the machine lose some of them in a power cut, the service
// refuses to complete the snapshot and the upload starts over.
const (
	recordHeader   = 'H' // header, in JSON
	recordSnapshot = 'S' // id of the snapshot
	recordIntent   = 'I' // index (4 bytes): a request is about to be made
	recordDone     = 'D' // index (4 bytes) and sum (32 bytes): it was stored

	journalMagic   = "rightimage upload\n"
	journalVersion = 1
	recordFrame    = 1 + 2 + 4
)

// journal is open for one upload; nil is one that keeps nothing.
type journal struct {
	path string
	file *os.File

	mu  sync.Mutex
	buf []byte
}

// openJournal opens or creates the journal and locks it. past is nil when there
// was none, or none that can be read.
func openJournal(path string) (*journal, *past, error) {
	if path == "" {
		return nil, nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
		if err := lock(f); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), f.Close())
		}
		// The run that had the lock before may have removed the file.
		if here, err := os.Stat(path); err == nil && same(f, here) {
			j := &journal{path: path, file: f}
			p, err := j.load()
			if err != nil {
				return nil, nil, errors.Join(err, f.Close())
			}
			return j, p, nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, errors.Join(err, f.Close())
		}
		_ = f.Close() // nothing was written
	}
}

func same(f *os.File, info fs.FileInfo) bool {
	mine, err := f.Stat()
	return err == nil && os.SameFile(mine, info)
}

// load reads what is there, cuts off a torn end and stands behind the rest.
func (j *journal) load() (*past, error) {
	data, err := io.ReadAll(j.file)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if n := min(len(data), len(journalMagic)); string(data[:n]) != journalMagic[:n] {
		return nil, fmt.Errorf("journal: %s is something else; name another file, or remove it", j.path)
	}
	p, good := parse(data)
	if err := j.file.Truncate(int64(good)); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if _, err := j.file.Seek(int64(good), io.SeekStart); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return p, nil
}

// begin throws away what the journal holds and writes a new header.
func (j *journal) begin(h header) error {
	if j == nil {
		return nil
	}
	if err := errors.Join(j.file.Truncate(0), seekStart(j.file)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	h.Version = journalVersion
	body, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err := j.file.WriteString(journalMagic); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.write(recordHeader, body); err != nil {
		return err
	}
	return j.sync()
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// name records the id of the snapshot.
func (j *journal) name(snapshot string) error {
	if j == nil {
		return nil
	}
	if err := j.write(recordSnapshot, []byte(snapshot)); err != nil {
		return err
	}
	return j.sync()
}

// intend records that a block is about to be sent.
func (j *journal) intend(index int64) error {
	if j == nil {
		return nil
	}
	return j.write(recordIntent, binary.BigEndian.AppendUint32(nil, uint32(index)))
}

// done records that a block was stored.
func (j *journal) done(index int64, sum sparse.Sum) error {
	if j == nil {
		return nil
	}
	return j.write(recordDone, append(binary.BigEndian.AppendUint32(nil, uint32(index)), sum[:]...))
}

// write adds a record in one piece.
func (j *journal) write(kind byte, body []byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = append(j.buf[:0], kind)
	j.buf = binary.BigEndian.AppendUint16(j.buf, uint16(len(body)))
	j.buf = append(j.buf, body...)
	j.buf = binary.BigEndian.AppendUint32(j.buf, crc(j.buf))
	if _, err := j.file.Write(j.buf); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *journal) sync() error {
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// remove ends the journal.
func (j *journal) remove() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	err := os.Remove(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, j.file.Close()) // closing it gives up the lock
}

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
