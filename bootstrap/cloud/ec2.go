// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// ec2 is Amazon EC2 and what speaks like it: the metadata service at
// 169.254.169.254, version 2 (with session token) only.
type ec2 struct {
	*imds

	o Options
}

func newEC2(o Options) Cloud { return ec2{newIMDS(o), o} }

// recogniseEC2: Nitro says "Amazon EC2" as vendor; Xen instances have a UUID
// that begins with ec2 and a version like 4.11.amazon.
func recogniseEC2(h Hints) bool {
	for _, s := range []string{h.SysVendor, h.BoardVendor, h.BIOSVendor, h.ChassisAssetTag} {
		if strings.HasPrefix(s, "Amazon EC2") {
			return true
		}
	}
	uuid := strings.ToLower(h.ProductUUID)
	if h.HypervisorUUID != "" {
		uuid = strings.ToLower(h.HypervisorUUID)
	}
	// Some firmware shows the first field in the other byte order: ec2ae145 as 45e12aec.
	swapped := len(uuid) >= 8 && uuid[4] == '2' && uuid[6:8] == "ec"
	amazon := strings.Contains(strings.ToLower(h.BIOSVersion), "amazon") || strings.Contains(strings.ToLower(h.ProductVersion), "amazon")
	return amazon && (strings.HasPrefix(uuid, "ec2") || swapped || uuid == "")
}

func (ec2) Name() string      { return "ec2" }
func (ec2) EnvPrefix() string { return "EC2_" }

func (e ec2) UserData(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Deadline)
	defer cancel()
	body, err := e.once(ctx, "/latest/user-data")
	return []byte(body), err
}

func (e ec2) InstanceID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Deadline)
	defer cancel()
	id, err := e.once(ctx, "/latest/meta-data/instance-id")
	return strings.TrimSpace(id), err
}

func (e ec2) LoginKey(ctx context.Context) (string, error) {
	key, err := e.bounded(ctx, "/latest/meta-data/public-keys/0/openssh-key")
	return strings.TrimSpace(key), err
}

func (e ec2) MetaData(ctx context.Context) (*Tree, error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Deadline)
	defer cancel()
	t, err := e.walk(ctx, "/latest/meta-data/", secretEC2)
	if errors.Is(err, ErrAbsent) {
		return &Tree{Dir: true}, nil
	}
	return t, err
}

func (e ec2) bounded(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.o.Deadline)
	defer cancel()
	return e.get(ctx, path)
}

// fingerprints are the values that tell a later boot of an instance from the
// first one's: the identity document has the time of the start, the addresses
// and the size. Services that speak like EC2 may have no document.
func fingerprints() []string {
	return []string{"/latest/dynamic/instance-identity/document", "/latest/meta-data/public-ipv4", "/latest/meta-data/local-ipv4"}
}

// Fingerprint asks again for what answered before.
func (e ec2) Fingerprint(ctx context.Context, before string) (string, error) {
	paths := fingerprints()
	if path, _, ok := strings.Cut(before, " "); ok && slices.Contains(paths, path) {
		paths = []string{path}
	}
	for _, path := range paths {
		body, err := e.bounded(ctx, path)
		if errors.Is(err, ErrAbsent) {
			continue
		}
		if err != nil {
			return "", err
		}
		return path + " " + digest(body), nil
	}
	return "", nil
}

// digest is the digest of a value.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// secretEC2 names the directories that are never copied into the spool: they
// hold credentials, which are replaced every few hours anyway.
func secretEC2(path string) bool {
	return strings.HasSuffix(path, "/iam/security-credentials/") || strings.Contains(path, "/identity-credentials/")
}
