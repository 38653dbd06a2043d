// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Parameter is one of Parameter Store, with its versions from old to new.
type Parameter struct {
	Name     string             `json:"name"`
	Versions []ParameterVersion `json:"versions"`
	Tags     map[string]string  `json:"tags,omitempty"`
	Created  time.Time          `json:"created"`
}

// ParameterVersion is one version of a parameter.
type ParameterVersion struct {
	Version        int64     `json:"version"`
	Value          string    `json:"value"`
	Type           string    `json:"type"`
	DataType       string    `json:"data_type"`
	Description    string    `json:"description,omitempty"`
	KeyID          string    `json:"key_id,omitempty"`
	AllowedPattern string    `json:"allowed_pattern,omitempty"`
	Tier           string    `json:"tier"`
	Modified       time.Time `json:"modified"`
}

// Last is the newest version.
func (p Parameter) Last() ParameterVersion { return p.Versions[len(p.Versions)-1] }

// ParameterKey is the key of a parameter's record: names hold slashes.
func ParameterKey(name string) string { return hashed(name) }

// Bucket is a bucket of objects. Buckets and objects lie in the region Global.
type Bucket struct {
	Name    string    `json:"name"`
	Region  string    `json:"region"`
	Created time.Time `json:"created"`
}

// Object is the record of an object; its data lies in DIR/objects/DATA.
type Object struct {
	Bucket   string            `json:"bucket"`
	Key      string            `json:"key"`
	Size     int64             `json:"size"`
	ETag     string            `json:"etag"` // MD5 of the data, with quotes
	Headers  map[string]string `json:"headers,omitempty"`
	Data     string            `json:"data"` // SHA-256 of bucket, key and data
	Modified time.Time         `json:"modified"`
}

// ObjectKey is the key of an object's record.
func ObjectKey(bucket, key string) string { return hashed(bucket + "/" + key) }

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (p Parameter) key() string     { return ParameterKey(p.Name) }
func (p Parameter) made() time.Time { return p.Created }
func (b Bucket) key() string        { return b.Name }
func (b Bucket) made() time.Time    { return b.Created }
func (o Object) key() string        { return ObjectKey(o.Bucket, o.Key) }
func (o Object) made() time.Time    { return o.Modified }

// PutObject writes the data under a name of its own, then the record that
// leads to it, and drops what the object held before. The caller is inside Update.
func (s *Store) PutObject(r *Region, o Object, data []byte) error {
	before, replaces := r.Objects.Get(o.key())
	o.Data = hashed(o.Bucket + "/" + o.Key + "\x00" + string(data))
	if err := os.MkdirAll(s.objectPath(""), 0o700); err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	if err := atomicfile.Write(s.objectPath(o.Data), data, 0o600); err != nil {
		return err
	}
	if err := r.Objects.Put(o); err != nil {
		return err
	}
	if replaces && before.Data != o.Data {
		return s.dropObjectData(before)
	}
	return nil
}

// GetObject reads the data of an object. The caller is inside View or Update.
func (s *Store) GetObject(o Object) ([]byte, error) {
	data, err := os.ReadFile(s.objectPath(o.Data))
	if err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return data, nil
}

// DeleteObject removes the record, then the data. The caller is inside Update.
func (s *Store) DeleteObject(r *Region, o Object) error {
	if err := r.Objects.Delete(o.key()); err != nil {
		return err
	}
	return s.dropObjectData(o)
}

func (s *Store) dropObjectData(o Object) error {
	if err := os.Remove(s.objectPath(o.Data)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove object: %w", err)
	}
	return nil
}

func (s *Store) objectPath(name string) string { return filepath.Join(s.dir, "objects", name) }
