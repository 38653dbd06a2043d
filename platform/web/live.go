// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

// liveID is the id of the hidden field in which a live part of a page carries
// the digest of itself. htmx sends it along as "have".
const liveID = "have"

// live renders a part of a page that htmx replaces while somebody looks at it.
func (r *renderer) live(name string, v view) (part template.HTML, digest string, err error) {
	var b bytes.Buffer
	if err := r.parts.ExecuteTemplate(&b, name, v); err != nil {
		return "", "", err
	}
	sum := sha256.Sum256(b.Bytes())
	digest = base64.RawURLEncoding.EncodeToString(sum[:9])
	field := fmt.Sprintf(`<input type="hidden" id=%q name=%q value=%q>`, liveID, liveID, digest)
	return template.HTML(field + b.String()), digest, nil //nolint:gosec // rendered by html/template; the digest is base64
}

// partIfChanged answers htmx with a live part, or with 204 when it is what the
// browser has: then nothing moves under the reader's eyes.
func (c *call) partIfChanged(name string, body any) error {
	part, digest, err := c.pages.live(name, view{Who: c.who, CSRF: c.csrf, Body: body})
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	if c.r.URL.Query().Get(liveID) == digest {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = c.w.Write([]byte(part)) // a browser that went away is no error of ours
	return nil
}
