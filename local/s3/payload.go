// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
)

// checksumPrefix begins the headers and trailers with checksums of the data.
const checksumPrefix = "x-amz-checksum-"

// nvme is the reversed polynomial of CRC-64/NVME, the default of newer SDKs.
const nvme = 0x9a6c9329ac4bc9b5

func hashOf(algorithm string) hash.Hash {
	switch algorithm {
	case "crc32":
		return crc32.NewIEEE()
	case "crc32c":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "crc64nvme":
		return crc64.New(crc64.MakeTable(nvme))
	case "sha1":
		return sha1.New()
	case "sha256":
		return sha256.New()
	}
	return nil
}

// payload returns the data of a put, taken out of its chunks, after checking
// each sum that came with it.
func payload(c *call.Call) ([]byte, error) {
	h := c.HTTP.Header
	data, trailer := c.Body, map[string]string{}
	claimed := h.Get("X-Amz-Content-Sha256")
	if strings.HasPrefix(claimed, "STREAMING-") {
		var err error
		if data, trailer, err = unchunk(c.Body); err != nil {
			return nil, err
		}
		if want := h.Get("X-Amz-Decoded-Content-Length"); want != strconv.Itoa(len(data)) {
			return nil, call.Errorf("IncompleteBody", "The body has %d bytes, but x-amz-decoded-content-length says '%s'.", len(data), want)
		}
	} else if len(claimed) == 2*sha256.Size {
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != claimed {
			return nil, call.Errorf("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
		}
	}
	if want := h.Get("Content-Md5"); want != "" {
		if sum := md5.Sum(data); base64.StdEncoding.EncodeToString(sum[:]) != want {
			return nil, badDigest("Content-MD5")
		}
	}
	for name := range h {
		trailer[strings.ToLower(name)] = h.Get(name)
	}
	for name, want := range trailer {
		algorithm, ok := strings.CutPrefix(name, checksumPrefix)
		if !ok {
			continue
		}
		sum := hashOf(algorithm)
		if sum == nil {
			return nil, unsupported("The local cloud's S3 does not support the checksum %s.", name)
		}
		sum.Write(data)
		if base64.StdEncoding.EncodeToString(sum.Sum(nil)) != want {
			return nil, badDigest(name)
		}
	}
	return data, nil
}

func badDigest(name string) *call.Error {
	return call.Errorf("BadDigest", "The %s you specified did not match what we received.", name)
}

// unchunk takes the data out of an aws-chunked body:
//
//	SIZE[;chunk-signature=…]\r\nDATA\r\n … 0[;…]\r\nname: value\r\n\r\n
func unchunk(body []byte) (data []byte, trailer map[string]string, err error) {
	broken := call.Errorf("IncompleteBody", "The body is not in the form aws-chunked.")
	for {
		head, rest, ok := bytes.Cut(body, []byte("\r\n"))
		size, _, _ := strings.Cut(string(head), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if !ok || err != nil || n < 0 || n > int64(len(rest)) {
			return nil, nil, broken
		}
		if n == 0 {
			return data, trailers(rest), nil
		}
		data = append(data, rest[:n]...)
		if body, ok = bytes.CutPrefix(rest[n:], []byte("\r\n")); !ok {
			return nil, nil, broken
		}
	}
}

func trailers(body []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			out[strings.ToLower(textproto.TrimString(name))] = textproto.TrimString(value)
		}
	}
	return out
}

// withoutChunked is a Content-Encoding without the encoding of the transfer.
func withoutChunked(encoding string) string {
	parts := strings.Split(strings.ReplaceAll(encoding, " ", ""), ",")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "aws-chunked" || p == "" }), ",")
}
