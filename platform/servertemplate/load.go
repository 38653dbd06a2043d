// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package servertemplate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/platform/internal/strictyaml"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
)

// Load reads the YAML file at path, the scripts it names (relative to it) and
// their attachments (in attachments/ beside each script). An error is Problems.
func Load(path string) (*Template, error) {
	l := &loader{file: path, tmpl: &Template{Path: path}, byPath: map[string]int{}}
	l.readTemplate()
	l.checkNames()
	l.checkInputs()
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.tmpl, nil
}

type loader struct {
	file     string
	yaml     strictyaml.Reader
	tmpl     *Template
	problems Problems
	byPath   map[string]int // script path → index into tmpl.Scripts, -1 when unreadable
	inputAt  map[string]*yaml.Node
}

func (l *loader) add(file string, line int, format string, args ...any) {
	l.problems = append(l.problems, Problem{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

func (l *loader) readTemplate() {
	raw, err := readLimited(l.file, MaxSource)
	if err != nil {
		l.add(l.file, 0, "%v", err)
		return
	}
	r, t := &l.yaml, l.tmpl
	root := r.Parse(raw)
	if root != nil {
		r.Object(root, "ServerTemplate", strictyaml.Fields{
			"Name":             func(n *yaml.Node) { t.Name = strings.TrimSpace(r.String(n, "Name")) },
			"Description":      func(n *yaml.Node) { t.Description = r.String(n, "Description") },
			"Inputs":           l.readInputs,
			"RightScripts":     l.readSequences,
			"MultiCloudImages": l.readImages,
			"Alerts":           func(n *yaml.Node) { t.Alerts = l.dataList(n, "Alerts") },
		})
		if t.Name == "" {
			r.Add(root, `Name: is missing; add "Name: <name of the ServerTemplate>"`)
		}
	}
	for _, p := range r.Problems {
		l.add(l.file, p.Line, "%s", p.Text)
	}
}

func (l *loader) dataList(n *yaml.Node, what string) []any {
	var list []any
	l.yaml.List(n, what, func(item *yaml.Node) {
		if item.Kind != yaml.MappingNode && item.Kind != yaml.ScalarNode {
			l.yaml.Add(item, "%s: want a mapping or a file name", what)
			return
		}
		list = append(list, l.yaml.Data(item, what))
	})
	return list
}

func (l *loader) readInputs(n *yaml.Node) {
	l.inputAt = map[string]*yaml.Node{}
	l.yaml.Each(n, "Inputs", func(key, value *yaml.Node) {
		v, err := rightscript.ParseValue(l.yaml.String(value, "Inputs: "+key.Value))
		if err != nil {
			l.yaml.Add(value, "Inputs: %s: %v", key.Value, err)
			return
		}
		l.inputAt[key.Value] = value
		l.tmpl.Inputs = append(l.tmpl.Inputs, InputValue{Name: key.Value, Value: v})
	})
}

func (l *loader) readSequences(n *yaml.Node) {
	fields := strictyaml.Fields{}
	for _, seq := range Sequences() {
		fields[string(seq)] = func(list *yaml.Node) {
			position := 0
			l.yaml.List(list, "RightScripts: "+string(seq), func(item *yaml.Node) {
				position++
				l.bind(seq, position, item)
			})
		}
	}
	l.yaml.Object(n, "RightScripts", fields)
}

func (l *loader) bind(seq Sequence, position int, item *yaml.Node) {
	if item.Kind == yaml.MappingNode {
		l.bindRef(seq, position, item)
		return
	}
	name := l.yaml.String(item, "RightScripts: "+string(seq))
	if name == "" {
		l.yaml.Add(item, "RightScripts: %s: want the path of a script, got nothing", seq)
		return
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(l.file), name)
	}
	index, known := l.byPath[path]
	if !known {
		index = l.readScript(path, name, item)
		l.byPath[path] = index
	}
	if index >= 0 {
		l.tmpl.Bindings = append(l.tmpl.Bindings, Binding{Sequence: seq, Position: position, Script: index})
	}
}

func (l *loader) bindRef(seq Sequence, position int, item *yaml.Node) {
	r, what := &l.yaml, "RightScripts: "+string(seq)
	var name, publisher string
	revision := 0
	r.Object(item, what, strictyaml.Fields{
		"Name":      func(n *yaml.Node) { name = r.String(n, what+": Name") },
		"Revision":  func(n *yaml.Node) { revision = readRevision(r, n, what) },
		"Publisher": func(n *yaml.Node) { publisher = r.String(n, what+": Publisher") },
	})
	switch {
	case publisher != "":
		r.Add(item, "%s: %q of publisher %q: there is no marketplace to import from; put the script beside this file and give its path", what, name, publisher)
	case name == "":
		r.Add(item, "%s: Name: is missing", what)
	case revision != 0:
		r.Add(item, "%s: %q: Revision: only 0 (HEAD) is kept here, got %d", what, name, revision)
	default:
		l.tmpl.Bindings = append(l.tmpl.Bindings, Binding{Sequence: seq, Position: position, Script: -1, Ref: name})
	}
}

func readRevision(r *strictyaml.Reader, n *yaml.Node, what string) int {
	if n.Kind == yaml.ScalarNode && strings.EqualFold(n.Value, "head") {
		return 0
	}
	return r.Int(n, what+": Revision")
}

// readScript returns the index of the script, or -1 after noting problems.
func (l *loader) readScript(path, name string, item *yaml.Node) int {
	source, err := readLimited(path, MaxSource)
	if err != nil {
		l.yaml.Add(item, "script %q: %v", name, err)
		return -1
	}
	before := len(l.problems)
	if !utf8.ValidString(source) || strings.ContainsRune(source, 0) {
		l.add(path, 0, "is not UTF-8 text; a binary can be an attachment of a script")
		return -1
	}
	if !strings.HasPrefix(source, "#!") {
		l.add(path, 1, `the first line must name the interpreter, such as "#!/bin/sh"`)
	}
	meta, err := rightscript.Parse(source)
	var problems rightscript.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			l.add(path, p.Line, "%s", p.Text)
		}
	case meta == nil:
		l.add(path, 1, `has no metadata comment (a block "# ---" … "# ..." with "RightScript Name" and "Inputs")`)
	}
	if len(l.problems) > before {
		return -1
	}
	script := Script{Path: path, Source: source, Metadata: *meta}
	for _, file := range meta.Attachments {
		if a, ok := l.readAttachment(path, file); ok {
			script.Attachments = append(script.Attachments, a)
		}
	}
	l.tmpl.Scripts = append(l.tmpl.Scripts, script)
	return len(l.tmpl.Scripts) - 1
}

func (l *loader) readAttachment(script, name string) (Attachment, bool) {
	a := Attachment{Name: name, Path: filepath.Join(filepath.Dir(script), "attachments", name)}
	var err error
	if a.Digest, a.Size, err = digest(a.Path); err != nil {
		l.add(script, 0, "attachment %q: %v", name, plain(err))
		return a, false
	}
	return a, true
}

func digest(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", 0, err
	case !info.Mode().IsRegular():
		return "", 0, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > MaxAttachment:
		return "", 0, fmt.Errorf("%s has %d bytes, more than the limit of %d", path, info.Size(), MaxAttachment)
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

func readLimited(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", plain(err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", plain(err)
	}
	if int64(len(raw)) > limit {
		return "", fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return string(raw), nil
}

// plain drops the name of the system call, which says nothing to the user.
func plain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return err
}
