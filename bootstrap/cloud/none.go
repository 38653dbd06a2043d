// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// none is a machine without metadata service: an operator, or whatever made the
// machine, puts files into /var/spool/<name>. Rackspace's first cloud works
// like that too.
type none struct{ root, name, prefix string }

func newNone(o Options) Cloud      { return none{o.Root, "none", "NONE_"} }
func newRackspace(o Options) Cloud { return none{o.Root, "rackspace", "RAX_"} }

func (n none) Name() string      { return n.name }
func (n none) EnvPrefix() string { return n.prefix }
func (none) Requests() int64     { return 0 }

// Fingerprint: reading the files is as cheap.
func (none) Fingerprint(context.Context, string) (string, error) { return "", nil }

func (n none) UserData(context.Context) ([]byte, error) {
	return readInput(n.root, n.name, "user-data.txt")
}

// MetaData reads key=value pairs, one per line or separated by "&". Keys stay
// flat. An instance-id is added if the file has none, so that everything on the
// instance knows it by one name.
func (n none) MetaData(context.Context) (*Tree, error) {
	t := &Tree{Dir: true}
	raw, err := readInput(n.root, n.name, "meta-data.txt")
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	for _, p := range userdata.ParsePairs(raw) {
		t.Children = append(t.Children, &Tree{Name: p.Key, Value: p.Value})
	}
	if id := n.hardwareID(); instanceID(t) == "" && id != "" {
		t.Children = append(t.Children, &Tree{Name: "instance-id", Value: id})
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
	if id := instanceID(t); id != "" {
		return id, nil
	}
	return "", fmt.Errorf("instance id (instance-id=… in /var/spool/%s/meta-data.txt, DMI, /etc/machine-id): %w", n.name, ErrAbsent)
}

func instanceID(t *Tree) string {
	for _, key := range []string{"instance-id", "instance_id", "INSTANCE_ID"} {
		if id, _ := t.Get(key); id != "" {
			return id
		}
	}
	return ""
}

func (n none) hardwareID() string {
	for _, f := range []string{"sys/class/dmi/id/product_uuid", "etc/machine-id"} {
		raw, err := os.ReadFile(filepath.Join(n.root, f))
		id := strings.ToLower(strings.TrimSpace(string(raw)))
		// Firmware without a UUID reports zeros or ones; "uninitialized" is systemd's word.
		if err == nil && strings.Trim(id, "0-") != "" && strings.Trim(id, "f-") != "" && id != "uninitialized" {
			return id
		}
	}
	return ""
}

// LoginKey is public-keys/0/openssh-key or openssh-key of meta-data.txt.
func (n none) LoginKey(ctx context.Context) (string, error) {
	t, err := n.MetaData(ctx)
	if err != nil {
		return "", err
	}
	return loginKey(t)
}
