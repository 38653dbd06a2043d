// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// none is a machine without metadata service: an operator, or whatever made the
// machine, puts files into /var/spool/none.
type none struct{ root string }

func newNone(o Options) Cloud { return none{o.Root} }

func (none) Name() string      { return "none" }
func (none) EnvPrefix() string { return "NONE_" }
func (none) Requests() int64   { return 0 }

func (n none) UserData(context.Context) ([]byte, error) {
	return readInput(n.root, "none", "user-data.txt")
}

// MetaData reads key=value pairs, one per line or separated by "&". Keys stay
// flat.
func (n none) MetaData(context.Context) (*Tree, error) {
	t := &Tree{Dir: true}
	raw, err := readInput(n.root, "none", "meta-data.txt")
	if errors.Is(err, ErrAbsent) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	for _, p := range userdata.ParsePairs(raw) {
		t.Children = append(t.Children, &Tree{Name: p.Key, Value: p.Value})
	}
	return t, nil
}

// InstanceID is instance-id of meta-data.txt, else the firmware's UUID (unique
// per virtual machine, so a copied disk is noticed), else the machine id.
func (n none) InstanceID(ctx context.Context) (string, error) {
	t, err := n.MetaData(ctx)
	if err != nil {
		return "", err
	}
	for _, key := range []string{"instance-id", "instance_id", "INSTANCE_ID"} {
		if id, ok := t.Get(key); ok && id != "" {
			return id, nil
		}
	}
	for _, f := range []string{"sys/class/dmi/id/product_uuid", "etc/machine-id"} {
		raw, err := os.ReadFile(filepath.Join(n.root, f))
		id := strings.ToLower(strings.TrimSpace(string(raw)))
		// Firmware without a UUID reports zeros or ones; "uninitialized" is systemd's word.
		if err == nil && strings.Trim(id, "0-") != "" && strings.Trim(id, "f-") != "" && id != "uninitialized" {
			return id, nil
		}
	}
	return "", ErrAbsent
}

// LoginKey is public-keys/0/openssh-key or openssh-key of meta-data.txt.
func (n none) LoginKey(ctx context.Context) (string, error) {
	t, err := n.MetaData(ctx)
	if err != nil {
		return "", err
	}
	for _, key := range []string{"public-keys/0/openssh-key", "openssh-key"} {
		if v, ok := t.Get(key); ok && v != "" {
			return v, nil
		}
	}
	return "", ErrAbsent
}
