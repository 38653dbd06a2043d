// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// number is an integer that clients send as a number or as text.
type number int64

// UnmarshalJSON reads 12 and "12".
func (n *number) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	*n = number(v)
	return err
}

// readBody decodes a JSON or form-encoded body; an empty one leaves into as it
// is. Clients send application/json on everything, so a form must say so.
func readBody(r *http.Request, into any) error {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return err
		}
		return &parameterError{"the request body ends early"}
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" {
		if raw, err = formToJSON(string(raw)); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return &parameterError{"the request body cannot be read: " + explain(err)}
	}
	return nil
}

// explain tells what is wrong without repeating the body, which may hold a
// secret.
func explain(err error) string {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return "not valid JSON at byte " + strconv.FormatInt(syntax.Offset, 10)
	case errors.As(err, &wrong) && wrong.Field != "":
		return "parameter " + strconv.Quote(wrong.Field) + " has the wrong type, want " + wrong.Type.String()
	default:
		return "a parameter has the wrong type"
	}
}

// formToJSON turns a[b]=c into {"a":{"b":"c"}}; deeper nesting has no use in
// the calls we serve.
func formToJSON(body string) ([]byte, error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, &parameterError{"the form cannot be read"}
	}
	object := map[string]any{}
	for key, values := range form {
		outer, inner, nested := strings.Cut(strings.TrimSuffix(key, "]"), "[")
		if !nested {
			object[key] = values[len(values)-1]
			continue
		}
		sub, ok := object[outer].(map[string]any)
		if !ok {
			sub = map[string]any{}
			object[outer] = sub
		}
		sub[inner] = values[len(values)-1]
	}
	return json.Marshal(object)
}
