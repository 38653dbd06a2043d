// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// file is one file of a generation; path is relative to the spool.
type file struct {
	path string
	data []byte
}

// leaf is one value, in original spelling.
type leaf struct {
	path  []string
	value string
}

// userDataFiles renders user-data. The raw file is always there; the others
// only if there is at least one pair.
func userDataFiles(d userdata.Data) []file {
	files := []file{{"user-data.raw", d.Raw}}
	if len(d.Pairs) == 0 {
		return files
	}
	tree := &cloud.Tree{Dir: true}
	for _, p := range d.Pairs {
		tree.Children = append(tree.Children, &cloud.Tree{Name: p.Key, Value: p.Value})
	}
	leaves := leavesOf(tree)
	vars := variables(UserDataPrefix, leaves)
	files = append(files,
		file{"user-data.dict", dict(vars)},
		file{"user-data.json", jsonTree(tree)},
		file{"user-data.rb", ruby(vars)},
		file{"user-data.sh", shell(vars)})
	return append(files, directory("user-data", leaves)...)
}

// metaDataFiles renders metadata, if there is any.
func metaDataFiles(tree *cloud.Tree, prefix string) []file {
	leaves := leavesOf(tree)
	if len(leaves) == 0 {
		return nil
	}
	vars := variables(prefix, leaves)
	return append([]file{
		{"meta-data.dict", dict(vars)},
		{"meta-data.json", jsonTree(tree)},
		{"meta-data-cache.rb", ruby(vars)},
		{"meta-data.rb", refreshRuby()},
		{"meta-data.sh", shell(vars)},
	}, directory("meta-data", leaves)...)
}

func leavesOf(tree *cloud.Tree) []leaf {
	var leaves []leaf
	tree.Walk(func(path []string, value string) {
		leaves = append(leaves, leaf{path, value})
	})
	return leaves
}

// directory renders one file per leaf below dir. Of a leaf and a directory with
// the same name the directory stays; of two equal leaves the last one.
func directory(dir string, leaves []leaf) []file {
	var files []file
	at := map[string]int{}
	dirs := map[string]bool{}
	for _, l := range leaves {
		path := dir
		for i, c := range l.path {
			if i > 0 {
				dirs[path] = true
			}
			path += "/" + fileName(c)
		}
		if i, seen := at[path]; seen {
			files[i].data = []byte(l.value)
			continue
		}
		at[path] = len(files)
		files = append(files, file{path, []byte(l.value)})
	}
	kept := files[:0]
	for _, f := range files {
		if !dirs[f.path] {
			kept = append(kept, f)
		}
	}
	return kept
}

// maxName bounds a file name; Linux allows 255 bytes.
const maxName = 200

// fileName makes a key safe as one path component. Almost every key is its own
// name; "/" and control characters, and the names "", "." and "..", are
// percent-encoded, and a very long name is cut and gets a digest.
func fileName(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		if c < 0x20 || c == 0x7f || c == '/' {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	name := b.String()
	switch name {
	case "":
		return "%"
	case ".", "..":
		return strings.ReplaceAll(name, ".", "%2E")
	}
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(key))
		return strings.ToValidUTF8(name[:maxName], "") + "~" + hex.EncodeToString(sum[:8])
	}
	return name
}

// jsonTree renders the tree with its own spelling and order, without a newline
// at the end. Bytes that are no UTF-8 become U+FFFD; the raw file keeps them.
func jsonTree(t *cloud.Tree) []byte {
	var b bytes.Buffer
	writeJSON(&b, t)
	return b.Bytes()
}

func writeJSON(b *bytes.Buffer, t *cloud.Tree) {
	if !t.Dir {
		writeString(b, t.Value)
		return
	}
	b.WriteByte('{')
	for i, c := range t.Children {
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(b, c.Name)
		b.WriteByte(':')
		writeJSON(b, c)
	}
	b.WriteByte('}')
}

func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false) // < > & stay readable
	_ = enc.Encode(s)        // a string into a buffer cannot go wrong
	b.Truncate(b.Len() - 1)  // Encode's newline
}
