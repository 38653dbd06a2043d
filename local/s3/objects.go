// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// maxKey is S3's limit for a key.
const maxKey = 1024

// putObject stores an object. If-None-Match: * and If-Match make it depend on
// what is there.
func (s *Service) putObject(w http.ResponseWriter, r *request) error {
	data, err := payload(r.Call)
	if err != nil {
		return err
	}
	if len(r.key) > maxKey {
		return call.Errorf("KeyTooLongError", "Your key is too long")
	}
	sum := md5.Sum(data)
	o := store.Object{
		Bucket: r.bucket, Key: r.key, Size: int64(len(data)), ETag: `"` + hex.EncodeToString(sum[:]) + `"`,
		Headers: kept(r.HTTP.Header), Modified: s.Store.Now().UTC().Truncate(time.Second),
	}
	err = s.Store.Update(store.Global, func(reg *store.Region) error {
		if _, err := s.find(w, r, reg); err != nil {
			return err
		}
		before, there := reg.Objects.Get(store.ObjectKey(r.bucket, r.key))
		if err := precondition(r, before, there); err != nil {
			return err
		}
		return s.Store.PutObject(reg, o, data)
	})
	if err != nil {
		return err
	}
	w.Header().Set("ETag", o.ETag)
	w.Header().Set("X-Amz-Server-Side-Encryption", encryption)
	done(w, r, http.StatusOK)
	return nil
}

func precondition(r *request, before store.Object, there bool) error {
	match, none := r.HTTP.Header.Get("If-Match"), r.HTTP.Header.Get("If-None-Match")
	switch {
	case none != "" && none != "*":
		return unsupported("The header If-None-Match of a put must be *.")
	case match != "" && !there:
		return noSuchKey(r)
	case none == "*" && there, match != "" && strings.Trim(match, `"`) != strings.Trim(before.ETag, `"`):
		return call.Errorf("PreconditionFailed", "At least one of the pre-conditions you specified did not hold").WithStatus(http.StatusPreconditionFailed)
	}
	return nil
}

func noSuchKey(r *request) *call.Error {
	return call.Errorf("NoSuchKey", "The specified key '%s' does not exist.", r.key).WithStatus(http.StatusNotFound)
}

// kept are the headers that an object comes back with.
func kept(h http.Header) map[string]string {
	out := map[string]string{"Content-Type": orText(h.Get("Content-Type"), "binary/octet-stream")}
	for name := range h {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-amz-meta-"), strings.HasPrefix(lower, checksumPrefix),
			lower == "cache-control", lower == "content-disposition", lower == "content-language", lower == "expires":
			out[name] = h.Get(name)
		}
	}
	if encoding := withoutChunked(h.Get("Content-Encoding")); encoding != "" {
		out["Content-Encoding"] = encoding
	}
	return out
}

// getObject answers GetObject and HeadObject, whole or in part, on condition or not.
func (s *Service) getObject(w http.ResponseWriter, r *request) error {
	var o store.Object
	var data []byte
	err := s.Store.View(store.Global, func(reg *store.Region) error {
		_, err := s.find(w, r, reg)
		if err != nil {
			return err
		}
		var ok bool
		if o, ok = reg.Objects.Get(store.ObjectKey(r.bucket, r.key)); !ok {
			return noSuchKey(r)
		}
		data, err = s.Store.GetObject(o)
		return err
	})
	if err != nil {
		return err
	}
	h := w.Header()
	whole := r.HTTP.Header.Get("Range") == "" && strings.EqualFold(r.HTTP.Header.Get(checksumPrefix+"mode"), "ENABLED")
	for name, value := range o.Headers {
		if whole || !strings.HasPrefix(strings.ToLower(name), checksumPrefix) {
			h.Set(name, value)
		}
	}
	if o.Headers["Content-Encoding"] != "" && r.HTTP.Header.Get("Range") == "" {
		h.Set("Content-Length", strconv.FormatInt(o.Size, 10)) // ServeContent leaves it out then
	}
	h.Set("ETag", o.ETag)
	h.Set("X-Amz-Request-Id", r.RequestID)
	h.Set("X-Amz-Server-Side-Encryption", encryption)
	http.ServeContent(w, r.HTTP, "", o.Modified, bytes.NewReader(data))
	return nil
}

// deleteObject removes an object; one that is not there is no error.
func (s *Service) deleteObject(w http.ResponseWriter, r *request) error {
	err := s.Store.Update(store.Global, func(reg *store.Region) error {
		if _, err := s.find(w, r, reg); err != nil {
			return err
		}
		o, ok := reg.Objects.Get(store.ObjectKey(r.bucket, r.key))
		if !ok {
			return nil
		}
		return s.Store.DeleteObject(reg, o)
	})
	if err == nil {
		done(w, r, http.StatusNoContent)
	}
	return err
}
