// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// parseJSON turns a JSON object into a tree: objects and lists are directories,
// the entries of a list are called 0, 1, 2; null and empty ones are left out.
func parseJSON(text []byte) (*Tree, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	t := &Tree{Dir: true}
	nodes := 0
	if err := readValue(dec, t, 0, &nodes); err != nil {
		return nil, fmt.Errorf("not the JSON that is expected: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not the JSON that is expected: more than one value")
	}
	if !t.Dir {
		return nil, errors.New("not the JSON that is expected: no object")
	}
	t.prune()
	return t, nil
}

func readValue(dec *json.Decoder, t *Tree, level int, nodes *int) error {
	if *nodes++; *nodes > maxNodes || level > maxLevel {
		return fmt.Errorf("more than %d entries or %d levels", maxNodes, maxLevel)
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	delim, isDelim := token.(json.Delim)
	if !isDelim {
		t.Dir = false
		if t.Value = fmt.Sprint(token); token == nil {
			t.Name = "" // dropped by prune
		}
		return nil
	}
	t.Dir = true
	for i := 0; dec.More(); i++ {
		name := strconv.Itoa(i)
		if delim == '{' {
			if token, err = dec.Token(); err != nil {
				return err
			}
			name, _ = token.(string)
		}
		child := &Tree{Name: strings.ReplaceAll(name, "/", "_")}
		if err := readValue(dec, child, level+1, nodes); err != nil {
			return err
		}
		t.Children = append(t.Children, child)
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

// drop removes the leaves and directories that are secret.
func (t *Tree) drop(path []string, secret func([]string) bool) {
	t.Children = slices.DeleteFunc(t.Children, func(c *Tree) bool {
		at := slices.Concat(path, []string{c.Name})
		if secret(at) {
			return true
		}
		c.drop(at, secret)
		return c.Dir && len(c.Children) == 0
	})
}

// at returns the directory at the path; nil when there is none.
func (t *Tree) at(path ...string) *Tree {
	node := t
	for _, name := range path {
		if node == nil {
			return nil
		}
		i := slices.IndexFunc(node.Children, func(c *Tree) bool { return c.Name == name && c.Dir })
		if i < 0 {
			return nil
		}
		node = node.Children[i]
	}
	return node
}

// text is Get without the second result.
func (t *Tree) text(path ...string) string {
	v, _ := t.Get(path...)
	return v
}

// lines joins all leaves below, one per line.
func (t *Tree) lines() string {
	var list []string
	t.Walk(func(_ []string, value string) { list = append(list, value) })
	return strings.Join(list, "\n")
}
