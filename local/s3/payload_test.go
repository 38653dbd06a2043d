// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package s3

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnchunk(t *testing.T) {
	for name, tc := range map[string]struct {
		body, want string
		trailer    map[string]string
		broken     bool
	}{
		"signed":    {"5;chunk-signature=ab\r\nhello\r\n1;chunk-signature=cd\r\n!\r\n0;chunk-signature=ef\r\n\r\n", "hello!", map[string]string{}, false},
		"trailer":   {"a\r\n0123456789\r\n0\r\nX-Amz-Checksum-Crc32: AAA=\r\n\r\n", "0123456789", map[string]string{"x-amz-checksum-crc32": "AAA="}, false},
		"empty":     {"0\r\n\r\n", "", map[string]string{}, false},
		"short":     {"5\r\nhel", "", nil, true},
		"no end":    {"5\r\nhello\r\n", "", nil, true},
		"no number": {"x\r\nhello\r\n0\r\n\r\n", "", nil, true},
		"negative":  {"-1\r\nhello\r\n0\r\n\r\n", "", nil, true},
		"nothing":   {"", "", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			data, trailer, err := unchunk([]byte(tc.body))
			require.Equal(t, tc.broken, err != nil)
			require.Equal(t, tc.want, string(data))
			require.Equal(t, tc.trailer, trailer)
		})
	}
}

func FuzzUnchunk(f *testing.F) {
	f.Add([]byte("5;chunk-signature=ab\r\nhello\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		data, _, err := unchunk(body)
		if err == nil && len(data) > len(body) {
			t.Errorf("%d bytes out of %d", len(data), len(body))
		}
	})
}

func TestWithoutChunked(t *testing.T) {
	for in, want := range map[string]string{"": "", "aws-chunked": "", "gzip,aws-chunked": "gzip", "aws-chunked, gzip": "gzip", "gzip": "gzip"} {
		require.Equal(t, want, withoutChunked(in))
	}
}
