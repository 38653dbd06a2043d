// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/imdsv2"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// ErrNoDocument says that this cloud vouches for nobody.
var ErrNoDocument = errors.New("this cloud has no instance identity documents")

// document is what the cloud says about this instance, and its signature.
type document struct {
	instanceID      string
	text, signature string
}

// metadata asks EC2's metadata service, version 2. The document is not kept on
// disk: who copies the disk does not get it.
type metadata struct {
	base  string // empty for EC2's own
	cloud string
}

const (
	// metadataEnv replaces the service's address with a root other than "/".
	metadataEnv = "RIGHTIMAGE_IMDS_ENDPOINT"
	maxDocument = 16 << 10
)

func newMetadata(root paths.Root) metadata {
	var m metadata
	if test := os.Getenv(metadataEnv); test != "" && filepath.Clean(string(root)) != "/" {
		m.base = test
	}
	text, _ := os.ReadFile(root.Cloud()) // without the hint the service itself is asked
	m.cloud = strings.TrimSpace(string(text))
	return m
}

// document fetches the document and its RSA-2048 signature.
func (m metadata) document(ctx context.Context) (document, error) {
	if m.cloud != "" && m.cloud != "ec2" {
		return document{}, fmt.Errorf("%w (%q); create its server with \"--enrolment legacy\"", ErrNoDocument, m.cloud)
	}
	answers, err := imdsv2.Get(ctx, m.base, "/latest/dynamic/instance-identity/document", "/latest/dynamic/instance-identity/rsa2048")
	if err != nil {
		return document{}, explain(err)
	}
	d := document{text: answers[0], signature: answers[1]}
	if len(d.text) > maxDocument || len(d.signature) > maxDocument {
		return document{}, notResponding(http.MethodGet, "instance-identity", fmt.Errorf("the answer is longer than %d bytes", maxDocument))
	}
	var fields struct {
		InstanceID string `json:"instanceId"`
	}
	if err := json.Unmarshal([]byte(d.text), &fields); err != nil || fields.InstanceID == "" {
		return document{}, errors.New("the instance identity document names no instanceId")
	}
	d.instanceID = fields.InstanceID
	return d, nil
}

// explain makes an error of the service count as "not responding", so that the
// session tries again soon, unless the service says that there is no such thing.
func explain(err error) error {
	var e *imdsv2.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.Status == http.StatusNotFound:
		return fmt.Errorf("%w: %s answers 404; create its server with \"--enrolment legacy\"", ErrNoDocument, e.Path)
	}
	return notResponding(e.Method, e.Path, e.Err)
}

func notResponding(method, path string, err error) error {
	return &session.Error{Method: method, Path: "metadata service " + path, Err: err}
}
