// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package mirrorconf says where an image keeps what it knows about mirrors of
// RightLink packages. The provisioner writes it, bootstrap reads it.
package mirrorconf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// What an image holds about mirrors.
const (
	// Dir is the folder of it all.
	Dir = "/etc/rightscale.d/mirror"
	// RootFile is the root of trust, TUF's root.json.
	RootFile = Dir + "/root.json"
	// ListFile has one address per line, tried from top to bottom; buckets
	// (s3://) usually come last. # begins a comment.
	ListFile = Dir + "/mirrors"
	// CAFile is PEM that is trusted for mirrors beside the system's own.
	CAFile = Dir + "/ca.pem"
	// UnsignedFile, when it exists, lets RS_src name packages that no metadata
	// vouches for. Only who makes the image can allow that.
	UnsignedFile = Dir + "/allow-unsigned"
)

// ParseList reads a list of mirrors.
func ParseList(text []byte) []string {
	var list []string
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// CheckAddress says what is wrong with a mirror's address.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "s3" {
		return fmt.Errorf("%q is not the address of a mirror; it begins with https://, http:// or s3://, and a host or bucket follows", address)
	}
	if u.User != nil {
		return errors.New("the address of a mirror must hold no user and password: every user of the image can read it")
	}
	return nil
}
