// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// document is a cloud whose metadata service gives everything in one JSON
// document: GCE, Azure, DigitalOcean and Oracle. The fields say where what is.
type document struct {
	*imds

	o             Options
	name, prefix  string
	path          string // of the document
	secret        func(path []string) bool
	instanceID    func(t *Tree) string
	loginKey      func(t *Tree) string
	fetchUserData func(ctx context.Context, d *document) ([]byte, error)
}

// newDocument makes the client; header is what the service wants of each
// request, so that a server cannot be tricked into asking it.
func newDocument(o Options, name, prefix, path, headerName, headerValue string) *document {
	m := newIMDS(o)
	m.plain = true
	if headerName != "" {
		m.header = http.Header{headerName: {headerValue}}
	}
	return &document{imds: m, o: o, name: name, prefix: prefix, path: path}
}

func (d *document) Name() string      { return d.name }
func (d *document) EnvPrefix() string { return d.prefix }

func (d *document) UserData(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Deadline)
	defer cancel()
	return d.fetchUserData(ctx, d)
}

func (d *document) MetaData(ctx context.Context) (*Tree, error) {
	t, err := d.shared(ctx)
	if errors.Is(err, ErrAbsent) {
		return &Tree{Dir: true}, nil
	}
	return t, err
}

// shared is the document as the first stage of this boot read it.
func (d *document) shared(ctx context.Context) (*Tree, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Deadline)
	defer cancel()
	t, err := d.whole(ctx)
	if err != nil {
		return nil, err
	}
	if d.secret != nil {
		t.drop(nil, d.secret)
	}
	return t, nil
}

// whole is the document with what is secret in it.
func (d *document) whole(ctx context.Context) (*Tree, error) {
	text, err := d.once(ctx, d.path)
	if err != nil {
		return nil, err
	}
	t, err := parseJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("metadata service: GET %s: %w", d.path, err)
	}
	return t, nil
}

func (d *document) InstanceID(ctx context.Context) (string, error) {
	return d.value(ctx, d.instanceID)
}

func (d *document) LoginKey(ctx context.Context) (string, error) {
	return d.value(ctx, d.loginKey)
}

func (d *document) value(ctx context.Context, pick func(*Tree) string) (string, error) {
	t, err := d.shared(ctx)
	if err != nil {
		return "", err
	}
	if v := strings.TrimSpace(pick(t)); v != "" {
		return v, nil
	}
	return "", ErrAbsent
}

// Fingerprint: one request gives the whole document, so nothing is saved.
func (d *document) Fingerprint(context.Context, string) (string, error) { return "", nil }

// decodeBase64 reads base64 with any line ends; what is none stays as it is,
// since people put plain text there too.
func decodeBase64(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return []byte(text)
	}
	return raw
}
