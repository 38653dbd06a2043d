// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package upload

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// header says what a journal is about. Everything but the token must fit for
// the upload to be resumed.
type header struct {
	Version   int       `json:"version"`
	Token     string    `json:"token"`
	Started   time.Time `json:"started"`
	VolumeGiB int64     `json:"volume_gib"`
	BlockSize int64     `json:"block_size"`
	Parent    string    `json:"parent,omitempty"`
	Encrypted *bool     `json:"encrypted,omitempty"`
	KmsKey    string    `json:"kms_key,omitempty"`
}

// past is what the journal of an earlier run tells.
type past struct {
	header
	snapshot string // "" when the run died before it knew
	records  []record
}

// record is what is known of one block.
type record struct {
	index int64
	done  bool
	sum   sparse.Sum
}

// parse reads records up to the first that is not whole, and returns how many
// bytes are good. Without a header nothing is.
func parse(data []byte) (p *past, good int) {
	good = len(journalMagic)
	for len(data)-good >= recordFrame {
		rest := data[good:]
		n := recordFrame + int(binary.BigEndian.Uint16(rest[1:]))
		if len(rest) < n || crc(rest[:n-4]) != binary.BigEndian.Uint32(rest[n-4:]) {
			break
		}
		kind, body := rest[0], rest[3:n-4]
		if (kind == recordHeader) != (p == nil) {
			break
		}
		if p == nil {
			p = &past{}
			if json.Unmarshal(body, &p.header) != nil || p.Version != journalVersion || p.Token == "" {
				return nil, 0
			}
		} else if !p.take(kind, body) {
			break
		}
		good += n
	}
	if p == nil {
		return nil, 0
	}
	return p, good
}

// take adds a record, if it is a good one.
func (p *past) take(kind byte, body []byte) bool {
	switch {
	case kind == recordSnapshot && len(body) > 0:
		p.snapshot = string(body)
	case kind == recordIntent && len(body) == 4:
		p.records = append(p.records, record{index: int64(binary.BigEndian.Uint32(body))})
	case kind == recordDone && len(body) == 4+len(sparse.Sum{}):
		p.records = append(p.records, record{index: int64(binary.BigEndian.Uint32(body)), done: true, sum: sparse.Sum(body[4:])})
	default:
		return false
	}
	return true
}

// fits reports why an upload with other settings cannot go on with this
// journal; "" when it can.
func (p *past) fits(now header) string {
	mine, err1 := json.Marshal(p.Encrypted)
	other, err2 := json.Marshal(now.Encrypted)
	switch {
	case p.VolumeGiB != now.VolumeGiB || p.BlockSize != now.BlockSize:
		return fmt.Sprintf("it is for a volume of %d GiB, and the disk has %d GiB now", p.VolumeGiB, now.VolumeGiB)
	case p.Parent != now.Parent:
		return fmt.Sprintf("it is based on %s, and the parent is %s now", orNone(p.Parent), orNone(now.Parent))
	case err1 != nil, err2 != nil, !bytes.Equal(mine, other), p.KmsKey != now.KmsKey:
		return "other encryption is wanted now"
	default:
		return ""
	}
}

func orNone(id string) string {
	if id == "" {
		return "no snapshot"
	}
	return id
}
