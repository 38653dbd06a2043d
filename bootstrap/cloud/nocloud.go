// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// nocloud is cloud-init's way for machines without a metadata service: a folder
// with the files user-data and meta-data, or a disk with the label cidata.
type nocloud struct{ o Options }

func newNoCloud(o Options) Cloud { return nocloud{o} }

func recogniseNoCloud(h Hints) bool { return h.NoCloud }

func (nocloud) Name() string      { return "nocloud" }
func (nocloud) EnvPrefix() string { return "NOCLOUD_" }
func (nocloud) Requests() int64   { return 0 }

// Fingerprint: reading the files is as cheap.
func (nocloud) Fingerprint(context.Context, string) (string, error) { return "", nil }

// SeedDirs are the folders below root where nocloud looks, in this order.
func SeedDirs() []string {
	return []string{"var/lib/cloud/seed/nocloud", "var/lib/cloud/seed/nocloud-net"}
}

// NoCloudLabels are the labels of its disk.
func NoCloudLabels() []string { return []string{"cidata", "CIDATA"} }

func (n nocloud) file(name string) ([]byte, error) {
	for _, dir := range SeedDirs() {
		files, err := readFiles(filepath.Join(n.o.Root, dir), []string{name})
		if err == nil && len(files[name]) > 0 {
			return files[name], nil
		}
	}
	files, err := readDrive(n.o.Root, NoCloudLabels(), []string{name})
	if err == nil && len(files[name]) == 0 {
		err = ErrAbsent
	}
	return files[name], err
}

func (n nocloud) UserData(context.Context) ([]byte, error) { return n.file("user-data") }

func (n nocloud) MetaData(context.Context) (*Tree, error) {
	raw, err := n.file("meta-data")
	if errors.Is(err, ErrAbsent) {
		return &Tree{Dir: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return textTree(raw), nil
}

func (n nocloud) InstanceID(ctx context.Context) (string, error) {
	t, err := n.MetaData(ctx)
	if err != nil {
		return "", err
	}
	if id := instanceID(t); id != "" {
		return id, nil
	}
	if id := (none{root: n.o.Root}).hardwareID(); id != "" {
		return id, nil
	}
	return "", ErrAbsent
}

func (n nocloud) LoginKey(ctx context.Context) (string, error) {
	t, err := n.MetaData(ctx)
	if err != nil {
		return "", err
	}
	return loginKey(t)
}

// loginKey looks where files that people write have the key.
func loginKey(t *Tree) (string, error) {
	for _, path := range [][]string{{"public-keys", "0", "openssh-key"}, {"public-keys/0/openssh-key"}, {"openssh-key"}, {"public-keys"}, {"public_ssh_keys"}} {
		if v := t.text(path...); v != "" {
			return v, nil
		}
	}
	for _, name := range []string{"public-keys", "public_ssh_keys"} {
		if dir := t.at(name); dir != nil {
			if keys := dir.lines(); keys != "" {
				return keys, nil
			}
		}
	}
	return "", ErrAbsent
}

// textTree reads metadata that people write: YAML or JSON, or key=value pairs.
func textTree(raw []byte) *Tree {
	var node yaml.Node
	if yaml.Unmarshal(raw, &node) == nil && len(node.Content) == 1 && node.Content[0].Kind == yaml.MappingNode {
		t := &Tree{Dir: true}
		left := maxNodes
		fromYAML(node.Content[0], t, 0, &left)
		t.prune()
		return t
	}
	t := &Tree{Dir: true}
	for _, p := range userdata.ParsePairs(raw) {
		t.Children = append(t.Children, &Tree{Name: p.Key, Value: p.Value})
	}
	return t
}

// fromYAML copies a node; aliases are left out, so that a small file cannot
// grow, and so is what is too deep or too much.
func fromYAML(n *yaml.Node, t *Tree, level int, left *int) {
	add := func(name string, value *yaml.Node) {
		if *left--; *left < 0 || level > maxLevel {
			return
		}
		child := &Tree{Name: strings.ReplaceAll(name, "/", "_")}
		fromYAML(value, child, level+1, left)
		t.Children = append(t.Children, child)
	}
	switch n.Kind {
	case yaml.MappingNode:
		t.Dir = true
		for i := 0; i+1 < len(n.Content); i += 2 {
			add(n.Content[i].Value, n.Content[i+1])
		}
	case yaml.SequenceNode:
		t.Dir = true
		for i, c := range n.Content {
			add(strconv.Itoa(i), c)
		}
	case yaml.ScalarNode:
		if t.Value = n.Value; n.Tag == "!!null" {
			t.Name = ""
		}
	case yaml.DocumentNode, yaml.AliasNode:
		t.Name = ""
	}
}
