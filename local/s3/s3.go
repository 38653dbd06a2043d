// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package s3 serves a small S3 of the local cloud: buckets and objects in path
// style, without versions, multipart uploads or access lists.
package s3

import (
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Service answers S3 calls from a store.
type Service struct {
	Store   *store.Store
	Account string
	Log     *slog.Logger
}

// request is one call with the bucket and the key of its path.
type request struct {
	*call.Call
	bucket, key string
	query       url.Values
}

// split cuts a path into bucket and key.
func split(path string) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket, key
}

// Action names the action of a request, "" when there is none for it.
func Action(c *call.Call) string {
	bucket, key := split(c.HTTP.URL.Path)
	query := c.HTTP.URL.Query()
	level := "service"
	switch {
	case key != "":
		level = "object"
	case bucket != "":
		level = "bucket"
	}
	if level == "bucket" && c.HTTP.Method == http.MethodGet {
		switch {
		case query.Has("location"):
			return "GetBucketLocation"
		case query.Get("list-type") == "2":
			return "ListObjectsV2"
		}
		return ""
	}
	return map[string]string{
		"service GET": "ListBuckets", "bucket PUT": "CreateBucket", "bucket HEAD": "HeadBucket", "bucket DELETE": "DeleteBucket",
		"object PUT": "PutObject", "object GET": "GetObject", "object HEAD": "HeadObject", "object DELETE": "DeleteObject",
	}[level+" "+c.HTTP.Method]
}

type handler func(http.ResponseWriter, *request) error

func (s *Service) actions() map[string]handler {
	return map[string]handler{
		"ListBuckets": s.listBuckets, "CreateBucket": s.createBucket, "HeadBucket": s.headBucket, "DeleteBucket": s.deleteBucket,
		"GetBucketLocation": s.getBucketLocation, "ListObjectsV2": s.listObjects,
		"PutObject": s.putObject, "GetObject": s.getObject, "HeadObject": s.getObject, "DeleteObject": s.deleteObject,
	}
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, c *call.Call) {
	if err := s.do(w, c); err != nil {
		WriteError(w, c, s.refusal(c, err))
	}
}

func (s *Service) do(w http.ResponseWriter, c *call.Call) error {
	act, ok := s.actions()[c.Action]
	if !ok {
		return unsupported("The local cloud's S3 has nothing for %s %s. docs/local.md lists what it supports.", c.HTTP.Method, c.HTTP.URL.RequestURI())
	}
	r := &request{Call: c, query: c.HTTP.URL.Query()}
	r.bucket, r.key = split(c.HTTP.URL.Path)
	for name := range r.query {
		if !slices.Contains([]string{
			"x-id", "location", "list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner",
		}, name) {
			return unsupported("The local cloud's S3 does not support the parameter %s.", name)
		}
	}
	if err := s.checkHeaders(r); err != nil {
		return err
	}
	return act(w, r)
}

// checkHeaders refuses headers that would do nothing.
func (s *Service) checkHeaders(r *request) error {
	for name, values := range r.HTTP.Header {
		name, value := strings.ToLower(name), values[0]
		if !strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-amz-meta-") || strings.HasPrefix(name, checksumPrefix) {
			continue
		}
		switch name {
		case "x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-user-agent", "x-amz-sdk-checksum-algorithm",
			"x-amz-trailer", "x-amz-decoded-content-length", "x-amz-te":
			continue
		case "x-amz-expected-bucket-owner":
			if value != s.Account {
				return call.Errorf("AccessDenied", "Access Denied").WithStatus(http.StatusForbidden)
			}
			continue
		}
		// What names the only way there is, is fine.
		if only := map[string]string{"x-amz-server-side-encryption": encryption, "x-amz-acl": "private", "x-amz-storage-class": "STANDARD"}[name]; only == "" || only != value {
			return unsupported("The local cloud's S3 does not support the header %s: %s.", name, value)
		}
	}
	return nil
}

// encryption is what S3 does with every object by default. The data of the
// local cloud are in the clear.
const encryption = "AES256"

func unsupported(format string, args ...any) *call.Error {
	return call.Errorf("UnsupportedOperation", format, args...)
}

func (s *Service) refusal(c *call.Call, err error) *call.Error {
	var refused *call.Error
	if errors.As(err, &refused) {
		return refused
	}
	s.Log.Error("S3 call broke", "action", c.Action, "error", err)
	return call.Errorf("InternalError", "%v", err).WithStatus(http.StatusInternalServerError)
}

type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string
	RequestID string `xml:"RequestId"`
}

// WriteError writes an error in the form of S3.
func WriteError(w http.ResponseWriter, c *call.Call, e *call.Error) {
	writeXML(w, c, e.Status, errorBody{Code: e.Code, Message: e.Message, Resource: c.HTTP.URL.Path, RequestID: c.RequestID})
}

func writeXML(w http.ResponseWriter, c *call.Call, status int, body any) {
	out, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", c.RequestID)
	w.WriteHeader(status)
	if c.HTTP.Method != http.MethodHead {
		_, _ = w.Write(append([]byte(xml.Header), out...)) // the client may be gone
	}
}

// done answers an action that only says that it did it.
func done(w http.ResponseWriter, r *request, status int) {
	w.Header().Set("X-Amz-Request-Id", r.RequestID)
	w.WriteHeader(status)
}
