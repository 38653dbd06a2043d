// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Limits of a form: what honest clients send stays far below.
const (
	maxFormFields = 10000
	maxFormDepth  = 8
)

// parseForm reads a form as API 1.5 writes them: a=1, a[b]=1, a[]=1&a[]=2, and
// lists of objects as a[][b]=1&a[][c]=2, where a name that comes again begins
// the next object.
func parseForm(body string) (map[string]any, error) {
	root := map[string]any{}
	fields := 0
	for body != "" {
		var field string
		field, body, _ = strings.Cut(body, "&")
		if field == "" {
			continue
		}
		if fields++; fields > maxFormFields {
			return nil, &parameterError{"the form has more than " + strconv.Itoa(maxFormFields) + " fields"}
		}
		name, value, _ := strings.Cut(field, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil {
			return nil, &parameterError{"the form cannot be read"}
		}
		steps, err := formSteps(name)
		if err != nil {
			return nil, err
		}
		if _, err := putField(root, steps, value); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// formSteps splits a[b][] into a, b and "".
func formSteps(name string) ([]string, error) {
	first, rest, nested := strings.Cut(name, "[")
	steps := []string{first}
	for nested {
		step, after, closed := strings.Cut(rest, "]")
		if !closed || after != "" && after[0] != '[' || strings.Contains(step, "[") {
			return nil, &parameterError{"parameter " + strconv.Quote(clip(name)) + " has brackets that do not match"}
		}
		steps = append(steps, step)
		nested = after != ""
		rest = strings.TrimPrefix(after, "[")
	}
	if first == "" || len(steps) > maxFormDepth {
		return nil, &parameterError{"parameter " + strconv.Quote(clip(name)) + " has no name or is nested too deeply"}
	}
	return steps, nil
}

// putField puts a value below a node and returns the node, which may be new.
func putField(node any, steps []string, value string) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	step, rest := steps[0], steps[1:]
	if step == "" {
		return putItem(node, rest, value)
	}
	object, ok := node.(map[string]any)
	if !ok && node != nil {
		return nil, &parameterError{"parameter " + strconv.Quote(clip(step)) + " is given both as a value and with brackets"}
	}
	if object == nil {
		object = map[string]any{}
	}
	sub := object[step]
	if len(rest) == 0 {
		sub = nil // the last one counts
	} else if _, isText := sub.(string); isText {
		return nil, &parameterError{"parameter " + strconv.Quote(clip(step)) + " is given both as a value and with brackets"}
	}
	child, err := putField(sub, rest, value)
	object[step] = child
	return object, err
}

// putItem adds to a list: a value, or a field of its last object.
func putItem(node any, rest []string, value string) (any, error) {
	list, ok := node.([]any)
	if !ok && node != nil {
		return nil, &parameterError{"a parameter is given both as a list and as something else"}
	}
	if len(rest) > 0 && len(list) > 0 {
		if last, ok := list[len(list)-1].(map[string]any); ok && !hasField(last, rest) {
			_, err := putField(last, rest, value)
			return list, err
		}
	}
	item, err := putField(nil, rest, value)
	return append(list, item), err
}

// hasField tells whether an object has a value at the steps already.
func hasField(object map[string]any, steps []string) bool {
	sub, ok := object[steps[0]]
	if !ok || len(steps) == 1 {
		return ok
	}
	inner, isObject := sub.(map[string]any)
	return isObject && hasField(inner, steps[1:])
}

// readParams reads all parameters of a request: of the query, and of the body,
// which counts first. Clients send application/json on everything, so that a
// form must say so, and some send a body with GET.
func readParams(r *http.Request) (*params, error) {
	root, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	raw, err := readAll(r)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(raw)) > 0 {
		body, err := parseBody(r.Header.Get("Content-Type"), raw)
		if err != nil {
			return nil, err
		}
		for name, value := range body {
			root[strings.TrimSuffix(name, "[]")] = value
		}
	}
	return &params{fields: root, first: new(error)}, nil
}

func parseBody(contentType string, raw []byte) (map[string]any, error) {
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "application/x-www-form-urlencoded":
		return parseForm(string(raw))
	case "multipart/form-data":
		return nil, &parameterError{"multipart/form-data is for attachments; send application/json or a form"}
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	body := map[string]any{}
	if err := dec.Decode(&body); err != nil {
		return nil, &parameterError{"the request body cannot be read: " + explain(err)}
	}
	if _, err := dec.Token(); err != io.EOF { // Token returns it bare
		return nil, &parameterError{"the request body holds more than one JSON object"}
	}
	return body, nil
}

// params is an object of parameters. A wrong type is noted, the first one in
// first, and reads as absent; the caller asks problem when it has read all.
type params struct {
	fields map[string]any
	at     string // "server[instance]", "" for the outermost
	first  *error
}

func (p *params) name(field string) string {
	if p.at == "" {
		return field
	}
	return p.at + "[" + field + "]"
}

func (p *params) wrong(field, want string) {
	if *p.first == nil {
		*p.first = &parameterError{"parameter " + p.name(clip(field)) + ": want " + want}
	}
}

// problem is the first thing that was wrong.
func (p *params) problem() error { return *p.first }

// has tells whether a field was sent, be it empty.
func (p *params) has(field string) bool {
	v, ok := p.fields[field]
	return ok && v != nil
}

// sub is an object within; absent, it is an empty one.
func (p *params) sub(field string) *params {
	object, ok := p.fields[field].(map[string]any)
	if !ok && p.has(field) && p.fields[field] != "" {
		p.wrong(field, "an object")
	}
	return &params{fields: object, at: p.name(field), first: p.first}
}

// opt is a text, nil when it was not sent. Numbers and truth values are texts
// to many clients.
func (p *params) opt(field string) *string {
	if !p.has(field) {
		return nil
	}
	text, ok := scalar(p.fields[field])
	if !ok {
		p.wrong(field, "text")
		return nil
	}
	return &text
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func (p *params) text(field string) string {
	if t := p.opt(field); t != nil {
		return *t
	}
	return ""
}

// need is a text that must be there.
func (p *params) need(field string) string {
	t := p.text(field)
	if t == "" && *p.first == nil {
		*p.first = &parameterError{"parameter " + p.name(field) + " is missing"}
	}
	return t
}

// texts is a list; one text counts as a list of one.
func (p *params) texts(field string) []string {
	switch v := p.fields[field].(type) {
	case nil:
		return nil
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			var ok bool
			if list[i], ok = scalar(item); !ok {
				p.wrong(field, "a list of texts")
				return nil
			}
		}
		return list
	default:
		if t, ok := scalar(v); ok && t != "" {
			return []string{t}
		} else if !ok {
			p.wrong(field, "a list of texts")
		}
		return nil
	}
}

// objects is a list of objects.
func (p *params) objects(field string) []*params {
	list, ok := p.fields[field].([]any)
	if !ok && p.has(field) {
		p.wrong(field, "a list of objects")
		return nil
	}
	objects := make([]*params, 0, len(list))
	for i, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			p.wrong(field, "a list of objects")
			return nil
		}
		objects = append(objects, &params{fields: object, at: p.name(field) + "[" + strconv.Itoa(i) + "]", first: p.first})
	}
	return objects
}

func (p *params) number(field string) int64 {
	t := p.text(field)
	if t == "" {
		return 0
	}
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		p.wrong(field, "a whole number")
	}
	return n
}

func (p *params) flag(field string) bool {
	switch p.text(field) {
	case "", "false", "0":
		return false
	case "true", "1":
		return true
	}
	p.wrong(field, "true or false")
	return false
}
