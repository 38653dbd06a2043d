// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

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
	base   string
	client *http.Client
	cloud  string
}

const (
	metadataURL     = "http://169.254.169.254"
	metadataTimeout = 5 * time.Second
	// metadataEnv replaces the service's address with a root other than "/".
	metadataEnv = "RIGHTIMAGE_IMDS_ENDPOINT"
	maxDocument = 16 << 10
)

func newMetadata(root paths.Root) metadata {
	m := metadata{base: metadataURL, client: &http.Client{
		Timeout:       metadataTimeout,
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true}, // a proxy has no business here
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
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
	token, err := m.call(ctx, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err != nil {
		return document{}, err
	}
	var d document
	for path, into := range map[string]*string{"document": &d.text, "rsa2048": &d.signature} {
		*into, err = m.call(ctx, http.MethodGet, "/latest/dynamic/instance-identity/"+path, "X-aws-ec2-metadata-token", token)
		if err != nil {
			return document{}, err
		}
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

// call makes one request. Its error counts as "not responding", so that the
// session tries again soon, unless the service says that there is no such
// thing.
func (m metadata) call(ctx context.Context, method, path, header, value string) (string, error) {
	fail := func(err error) error {
		return &session.Error{Method: method, Path: "metadata service " + path, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, method, m.base+path, nil)
	if err != nil {
		return "", fail(err)
	}
	req.Header.Set(header, value)
	resp, err := m.client.Do(req)
	if err != nil {
		return "", fail(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return "", fmt.Errorf("%w: %s answers 404; create its server with \"--enrolment legacy\"", ErrNoDocument, path)
	case resp.StatusCode != http.StatusOK:
		return "", fail(fmt.Errorf("it answers %d", resp.StatusCode))
	case err != nil:
		return "", fail(err)
	case len(text) > maxDocument:
		return "", fail(fmt.Errorf("the answer is longer than %d bytes", maxDocument))
	}
	return string(text), nil
}
