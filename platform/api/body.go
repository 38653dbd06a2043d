// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
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
	raw, err := readAll(r)
	if err != nil {
		return err
	}
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" {
		form, err := parseForm(string(raw))
		if err != nil {
			return err
		}
		if raw, err = json.Marshal(form); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return &parameterError{"the request body cannot be read: " + explain(err)}
	}
	return nil
}

// readAll reads a body and tells one that is too long from one that ends early.
func readAll(r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return nil, err
		}
		return nil, &parameterError{"the request body ends early"}
	}
	return raw, nil
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
