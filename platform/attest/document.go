// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package attest checks what a cloud says about its instances: EC2's instance
// identity documents, their RSA-2048 signatures, and what an operator allows.
// It decides nothing about tokens and keys; package fleet does.
package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/cms"
)

// MaxDocument and MaxSignature bound what is read; EC2's have about 0.5 and 1.5 KiB.
const (
	MaxDocument  = 16 << 10
	MaxSignature = 32 << 10
)

// Errors that callers tell apart. All mean that the document is not believed.
var (
	ErrMalformed = errors.New("the instance identity document or its signature cannot be read")
	ErrUnknown   = errors.New("no known certificate belongs to the signature of the instance identity document")
	ErrForged    = errors.New("the instance identity document does not fit its signature")
)

// Document is what a cloud vouches for.
type Document struct {
	AccountID   string    `json:"accountId"`
	Region      string    `json:"region"`
	ImageID     string    `json:"imageId"`
	InstanceID  string    `json:"instanceId"`
	PendingTime time.Time `json:"pendingTime"` // of the last launch or start
}

// Open checks the signature and reads the document. signature is base64, as the
// metadata service gives it.
func (t Trust) Open(document, signature string) (Document, error) {
	var d Document
	if len(document) > MaxDocument || len(signature) > MaxSignature {
		return d, fmt.Errorf("%w: it is too long", ErrMalformed)
	}
	message, err := parseSignature(signature)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if message.Content != nil && string(message.Content) != document {
		return d, fmt.Errorf("%w: the signature is for another document", ErrForged)
	}
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		return d, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	certificates, err := t.certificates(func(region string) bool { return region == d.Region })
	if err != nil {
		return d, err
	}
	if err := verify(message, document, d.Region, certificates); err != nil {
		return Document{}, err
	}
	return d, d.check()
}

func parseSignature(text string) (cms.Message, error) {
	text = strings.Join(strings.Fields(text), "")
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return cms.Message{}, err
	}
	return cms.Parse(raw)
}

// verify wants one certificate that fits.
func verify(message cms.Message, document, region string, certificates []Certificate) error {
	known := false
	for _, c := range certificates {
		if !message.NamesSigner(c.Certificate) {
			continue
		}
		known = true
		if message.Verify(c.Certificate, []byte(document)) == nil {
			return nil
		}
	}
	if known {
		return ErrForged
	}
	return fmt.Errorf("%w (region %q): give the platform the region's RSA-2048 certificate with --identity-certificates", ErrUnknown, clip(region))
}

func (d Document) check() error {
	for name, value := range map[string]string{"accountId": d.AccountID, "region": d.Region, "imageId": d.ImageID, "instanceId": d.InstanceID} {
		bad := strings.ContainsFunc(value, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
		})
		if value == "" || len(value) > 64 || bad {
			return fmt.Errorf("%w: %s %q", ErrMalformed, name, clip(value))
		}
	}
	if d.PendingTime.IsZero() {
		return fmt.Errorf("%w: pendingTime is missing", ErrMalformed)
	}
	return nil
}

// Rules are allow-lists; an empty list allows everything.
type Rules struct {
	Accounts []string `json:"accounts,omitempty"`
	Regions  []string `json:"regions,omitempty"`
	Images   []string `json:"images,omitempty"`
}

// Check tells which list does not hold what the document says.
func (r Rules) Check(d Document) error {
	for _, list := range []struct {
		what, value string
		allowed     []string
	}{{"account", d.AccountID, r.Accounts}, {"region", d.Region, r.Regions}, {"image", d.ImageID, r.Images}} {
		if len(list.allowed) > 0 && !slices.Contains(list.allowed, list.value) {
			return fmt.Errorf("%s %s is not allowed", list.what, list.value)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
