// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// initramfs is what an initramfs holds: the names of its files, and the content
// of those that checks want.
type initramfs struct {
	names []string
	kept  map[string][]byte
}

const (
	// maxInitramfs bounds what is unpacked of one: a small file can be made to
	// grow without end.
	maxInitramfs = 1 << 30
	maxKept      = 64 << 10
)

// initramfsCache keeps what was read, since several checks ask.
type initramfsCache struct {
	mu   sync.Mutex
	seen map[string]func() (*initramfs, error)
}

// initramfs reads an initramfs: archives one after the other, each of them plain
// or compressed.
func (x *probe) initramfs(p string) (*initramfs, error) {
	real, err := x.Resolve(p)
	if err != nil {
		return nil, err
	}
	c := &x.engine.cache
	c.mu.Lock()
	if c.seen == nil {
		c.seen = map[string]func() (*initramfs, error){}
	}
	get, ok := c.seen[real]
	if !ok {
		get = sync.OnceValues(func() (*initramfs, error) {
			f, err := x.Open(real)
			if err != nil {
				return nil, err
			}
			defer f.Close() //nolint:errcheck // only read
			return readInitramfs(f)
		})
		c.seen[real] = get
	}
	c.mu.Unlock()
	return get()
}

func readInitramfs(r io.Reader) (*initramfs, error) {
	list := &initramfs{kept: map[string][]byte{}}
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		if err := skipZeroes(in); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return list, err
		}
		inner, err := unpack(in)
		if err != nil {
			return list, err
		}
		if err := list.cpio(inner); err != nil {
			return list, err
		}
		if inner != in {
			break // compressed archives are the last
		}
	}
	if len(list.names) == 0 {
		return list, errors.New("not an initramfs that can be read")
	}
	return list, nil
}

func skipZeroes(in *bufio.Reader) error {
	for {
		c, err := in.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return in.UnreadByte()
		}
	}
}

// unpack returns what is in a compressed stream, or the stream itself.
func unpack(in *bufio.Reader) (*bufio.Reader, error) {
	magic, _ := in.Peek(6) // a short one matches nothing below
	var out io.Reader
	var err error
	switch {
	case bytes.HasPrefix(magic, []byte("07070")):
		return in, nil
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		out, err = gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		out, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		out, err = xz.NewReader(in)
	case bytes.HasPrefix(magic, []byte("BZh")):
		out = bzip2.NewReader(in)
	default:
		return nil, fmt.Errorf("its compression (%x) cannot be read", magic)
	}
	if err != nil {
		return nil, err
	}
	return bufio.NewReaderSize(io.LimitReader(out, maxInitramfs), 64<<10), nil
}

// cpio reads an archive of the form "newc" to its trailer.
func (list *initramfs) cpio(in *bufio.Reader) error {
	const headerSize = 110
	header := make([]byte, headerSize)
	for {
		if err := skipZeroes(in); errors.Is(err, io.EOF) {
			return nil
		}
		if magic, _ := in.Peek(5); string(magic) != "07070" {
			return nil // another archive follows
		}
		if _, err := io.ReadFull(in, header); err != nil {
			return err
		}
		size, err1 := strconv.ParseInt(string(header[54:62]), 16, 64)
		length, err2 := strconv.ParseInt(string(header[94:102]), 16, 64)
		if err := errors.Join(err1, err2); err != nil || length < 1 || length > 4096 {
			return errors.New("damaged archive")
		}
		name := make([]byte, length)
		if _, err := io.ReadFull(in, name); err != nil {
			return err
		}
		file := path.Clean("/" + string(bytes.TrimRight(name, "\x00")))
		if err := discard(in, pad(headerSize+length)); err != nil {
			return err
		}
		if file == "/TRAILER!!!" {
			continue
		}
		list.names = append(list.names, file)
		content := io.LimitReader(in, size)
		if base := path.Base(file); strings.HasPrefix(base, "authorized_keys") || strings.Contains(base, "_host_") || base == "modules.builtin" {
			data, err := io.ReadAll(io.LimitReader(content, maxKept))
			if err != nil {
				return err
			}
			if len(data) > 0 {
				list.kept[file] = data
			}
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
		if err := discard(in, pad(size)); err != nil {
			return err
		}
	}
}

func pad(n int64) int64 { return (4 - n%4) % 4 }

func discard(in *bufio.Reader, n int64) error {
	_, err := in.Discard(int(n))
	return err
}

// module reports whether a kernel module is in it.
func (list *initramfs) module(name string) bool {
	for _, n := range list.names {
		if moduleName(n) == name {
			return true
		}
	}
	return false
}

// moduleName is the name of a kernel module by its file, with dashes.
func moduleName(p string) string {
	base := path.Base(p)
	i := strings.Index(base, ".ko")
	if i < 0 {
		return ""
	}
	return strings.ReplaceAll(base[:i], "_", "-")
}
