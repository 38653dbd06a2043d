// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds for MIME documents: they come from the network.
const (
	maxParts = 200
	maxDepth = 4
)

// isMIME says that the text begins with a mail header that names a multipart.
func isMIME(text string) bool {
	msg, err := mail.ReadMessage(strings.NewReader(strings.TrimLeft(text, "\n")))
	if err != nil {
		return false
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	return err == nil && strings.HasPrefix(kind, "multipart/") && params["boundary"] != ""
}

// fromMIME looks for the identity in every part of the document, in order; the
// last part that carries one wins, as it would when the parts ran in order.
func (d *Data) fromMIME(text string) []Pair {
	msg, err := mail.ReadMessage(strings.NewReader(strings.TrimLeft(text, "\n")))
	if err != nil {
		return nil
	}
	left := maxParts
	return d.fromParts(msg.Header.Get("Content-Type"), msg.Body, maxDepth, &left)
}

func (d *Data) fromParts(contentType string, body io.Reader, depth int, left *int) []Pair {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || depth == 0 {
		return nil
	}
	var found []Pair
	parts := multipart.NewReader(body, params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			d.problem("mime: %v; the rest of the document is ignored", err)
			return found
		}
		if *left--; *left < 0 {
			d.problem("mime: more than %d parts; the rest is ignored", maxParts)
			return found
		}
		if pairs := d.fromPart(part.Header, part, depth, left); pairs != nil {
			found = pairs
		}
	}
}

// fromPart reads one part by its type; text/plain is judged by its content, as
// cloud-init does.
func (d *Data) fromPart(h textproto.MIMEHeader, body io.Reader, depth int, left *int) []Pair {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.EqualFold(h.Get("Content-Transfer-Encoding"), "base64") {
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	if strings.HasPrefix(kind, "multipart/") {
		return d.fromParts(h.Get("Content-Type"), body, depth-1, left)
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxBody))
	if err != nil {
		d.problem("mime: a %s part is unreadable: %v", kind, err)
		return nil
	}
	if raw, _, err = gunzip(raw); err != nil {
		d.problem("mime: a %s part is unreadable: gzip: %v", kind, err)
		return nil
	}
	text := normalise(raw)
	head := strings.TrimSpace(text)
	switch {
	case kind == "text/cloud-config" || kind == "text/plain" && strings.HasPrefix(head, "#cloud-config"):
		return d.fromCloudConfig(text)
	case kind == "text/x-shellscript" || kind == "text/plain" && strings.HasPrefix(head, "#!"):
		return d.fromScript(text)
	}
	return nil
}

// cloudConfig is the part of a cloud-config that can carry an identity.
type cloudConfig struct {
	WriteFiles []struct {
		Path     string `yaml:"path"`
		Content  string `yaml:"content"`
		Encoding string `yaml:"encoding"`
	} `yaml:"write_files"`
}

// fromCloudConfig finds the write_files entry of the identity file.
func (d *Data) fromCloudConfig(text string) []Pair {
	var c cloudConfig
	var mismatch *yaml.TypeError // of entries that are not ours; the rest is decoded
	if err := yaml.Unmarshal([]byte(text), &c); err != nil && !errors.As(err, &mismatch) {
		d.problem("cloud-config is not valid YAML; it is ignored")
		return nil
	}
	var found []Pair
	for _, f := range c.WriteFiles {
		if path.Clean(f.Path) != IdentityPath {
			continue
		}
		content, err := decode(f.Content, f.Encoding)
		if err != nil {
			d.problem("cloud-config: content of %s: %v", IdentityPath, err)
			continue
		}
		found = assignments(normalise(content))
	}
	return found
}

// decode undoes the encodings of cloud-config's write_files.
func decode(content, encoding string) ([]byte, error) {
	raw := []byte(content)
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "b64", "base64", "gz+b64", "gz+base64", "gzip+b64", "gzip+base64":
		var err error
		if raw, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, strings.NewReader(strings.TrimSpace(content)))); err != nil {
			return nil, err
		}
	}
	raw, _, err := gunzip(raw)
	return raw, err
}
