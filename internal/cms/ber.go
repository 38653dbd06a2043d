// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cms

import (
	"errors"
	"fmt"
)

// Bounds of what normalise reads. An identity document's signature has 8
// levels and about 1 KiB.
const (
	maxDepth = 16
	maxSize  = 64 << 10
)

// errBER is a message that is not BER as we read it.
var errBER = errors.New("not well-formed BER")

// Tags of BER that this package looks at.
const (
	tagOctets            = 0x04
	tagOctetsConstructed = 0x24
	constructed          = 0x20
	highTag              = 0x1f
)

// normalise turns one BER element into DER, as far as it concerns lengths: EC2
// writes indefinite lengths and octet strings in pieces, which encoding/asn1
// does not read. It returns what follows the element.
func normalise(in []byte, depth int) (der, rest []byte, err error) {
	tag, length, body, err := header(in)
	if err != nil {
		return nil, nil, err
	}
	if tag&constructed == 0 {
		if length < 0 {
			return nil, nil, fmt.Errorf("%w: a primitive value without a length", errBER)
		}
		return encode(tag, body[:length]), body[length:], nil
	}
	if depth >= maxDepth {
		return nil, nil, fmt.Errorf("%w: nested too deeply", errBER)
	}
	var content []byte
	if length >= 0 {
		body, rest = body[:length], body[length:]
	}
	for {
		switch {
		case length < 0 && len(body) >= 2 && body[0] == 0 && body[1] == 0:
			return join(tag, content), body[2:], nil
		case length >= 0 && len(body) == 0:
			return join(tag, content), rest, nil
		}
		var child []byte
		if child, body, err = normalise(body, depth+1); err != nil {
			return nil, nil, err
		}
		if tag == tagOctetsConstructed {
			if child, err = octets(child); err != nil {
				return nil, nil, err
			}
		}
		content = append(content, child...)
	}
}

// join closes a constructed element; the pieces of an octet string become one.
func join(tag byte, content []byte) []byte {
	if tag == tagOctetsConstructed {
		tag = tagOctets
	}
	return encode(tag, content)
}

// octets is the content of a primitive octet string.
func octets(der []byte) ([]byte, error) {
	tag, length, body, err := header(der)
	if err != nil || tag != tagOctets {
		return nil, fmt.Errorf("%w: a piece of an octet string is something else", errBER)
	}
	return body[:length], nil
}

// header reads tag and length; the length is -1 when it is indefinite. body is
// at least as long as the length.
func header(in []byte) (tag byte, length int, body []byte, err error) {
	if len(in) < 2 {
		return 0, 0, nil, fmt.Errorf("%w: it ends early", errBER)
	}
	tag, body = in[0], in[2:]
	if tag&highTag == highTag {
		return 0, 0, nil, fmt.Errorf("%w: a tag above 30", errBER)
	}
	switch first := in[1]; {
	case first == 0x80:
		return tag, -1, body, nil
	case first < 0x80:
		length = int(first)
	default:
		n := int(first & 0x7f)
		if n > 4 || n > len(body) {
			return 0, 0, nil, fmt.Errorf("%w: a length of %d bytes", errBER, n)
		}
		for _, b := range body[:n] {
			length = length<<8 | int(b)
		}
		body = body[n:]
	}
	if length < 0 || length > len(body) {
		return 0, 0, nil, fmt.Errorf("%w: it ends early", errBER)
	}
	return tag, length, body, nil
}

// encode writes an element in DER.
func encode(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := []byte{tag}
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 1<<8:
		out = append(out, 0x81, byte(n))
	case n < 1<<16:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
