// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Types of the formats: https://github.com/in-toto/attestation and
// https://slsa.dev/spec/v1.0/provenance. Their own Go types are made from
// protobuf, whose JSON is different each time that it is written; a statement is
// signed as bytes, and equal builds should have equal ones.
const (
	StatementType  = "https://in-toto.io/Statement/v1"
	ProvenanceType = "https://slsa.dev/provenance/v1"
	PayloadType    = "application/vnd.in-toto+json"
)

// BuildType names the meaning of the parameters in our provenance; docs/proof.md
// defines it.
const BuildType = "https://github.com/rightimage/packer-plugin-rightimage/blob/main/docs/proof.md#build-type-1"

// defaultBuilder is the builder id when nobody gives one: it says which program
// built, and not where it ran.
const defaultBuilder = "https://github.com/rightimage/packer-plugin-rightimage"

// Descriptor names a thing and its digests.
type Descriptor struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// Statement is an in-toto statement with SLSA provenance.
type Statement struct {
	Type          string       `json:"_type"`
	Subject       []Descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     Provenance   `json:"predicate"`
}

// Provenance is the predicate of SLSA v1.
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// BuildDefinition is what went into a build.
type BuildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters,omitempty"`
	ResolvedDependencies []Descriptor   `json:"resolvedDependencies,omitempty"`
}

// RunDetails is who built, when, and what else came out.
type RunDetails struct {
	Builder    BuilderID    `json:"builder"`
	Metadata   Metadata     `json:"metadata"`
	Byproducts []Descriptor `json:"byproducts,omitempty"`
}

// BuilderID names the builder.
type BuilderID struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Metadata is about the run.
type Metadata struct {
	InvocationID string `json:"invocationId,omitempty"`
	StartedOn    string `json:"startedOn,omitempty"`
	FinishedOn   string `json:"finishedOn,omitempty"`
}

// Facts are what is known of a build. What is not known is left out of the
// statement.
type Facts struct {
	// Name is that of the image or disk, File that of the disk's file.
	Name, File string
	// DiskDigest is the DiskDigest; FileSHA256 the sum of the disk's file.
	DiskDigest, FileSHA256 string
	// Source is the builder's part of the toolkit, such as "rightimage-disk".
	Source string
	// OS, Architecture and Family are as in the catalogue.
	OS, Architecture, Family string
	// InputURL and InputChecksum ("sha256:…") are the disk that the image was made
	// of, SourceAMI the image.
	InputURL, InputChecksum, SourceAMI string
	// Template are the files of the template, each with its SHA-256.
	Template []Descriptor
	// BuilderID names who built, as SLSA wants it; "" is our own URL.
	BuilderID string
	// PublishID is the tag rightimage:publish-id.
	PublishID string
	// Packages counts what the bill of materials lists, by kind.
	Packages map[string]int
	// Byproducts are files beside the statement.
	Byproducts        []Descriptor
	Started, Finished time.Time
}

// NewStatement says of a disk how it was made.
func NewStatement(f Facts) Statement {
	digest := map[string]string{DigestName: f.DiskDigest}
	if f.FileSHA256 != "" {
		digest["sha256"] = f.FileSHA256
	}
	external := map[string]any{"name": f.Name}
	for name, value := range map[string]string{"source": f.Source, "architecture": f.Architecture, "family": f.Family, "os": f.OS} {
		if value != "" {
			external[name] = value
		}
	}
	internal := map[string]any{}
	if len(f.Packages) > 0 {
		internal["packages"] = f.Packages
	}
	return Statement{
		Type: StatementType, PredicateType: ProvenanceType,
		Subject: []Descriptor{{Name: cmp.Or(f.File, f.Name), Digest: digest}},
		Predicate: Provenance{
			BuildDefinition: BuildDefinition{
				BuildType: BuildType, ExternalParameters: external, InternalParameters: internal, ResolvedDependencies: f.dependencies(),
			},
			RunDetails: RunDetails{
				Builder:    BuilderID{ID: cmp.Or(f.BuilderID, defaultBuilder), Version: map[string]string{"rightimage": version.String()}},
				Metadata:   Metadata{InvocationID: f.PublishID, StartedOn: stamp(f.Started), FinishedOn: stamp(f.Finished)},
				Byproducts: f.Byproducts,
			},
		},
	}
}

func (f Facts) dependencies() []Descriptor {
	out := append([]Descriptor{}, f.Template...)
	switch {
	case f.SourceAMI != "":
		out = append(out, Descriptor{Name: "source", URI: "ami:" + f.SourceAMI})
	case f.InputURL != "":
		d := Descriptor{Name: "source", URI: f.InputURL}
		if kind, sum, ok := cutChecksum(f.InputChecksum); ok {
			d.Digest = map[string]string{kind: sum}
		}
		out = append(out, d)
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// cutChecksum takes "sha256:…" apart, or tells the kind of a bare sum by its
// length, as Packer does.
func cutChecksum(text string) (kind, sum string, ok bool) {
	for _, k := range []struct {
		name  string
		digit int
	}{{"md5", 32}, {"sha1", 40}, {"sha256", 64}, {"sha512", 128}} {
		bare := text
		if len(text) > len(k.name) && text[:len(k.name)+1] == k.name+":" {
			bare = text[len(k.name)+1:]
		}
		if len(bare) == k.digit && isHex(bare) {
			return k.name, bare, true
		}
	}
	return "", "", false
}

func isHex(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') && (r < 'A' || r > 'F') {
			return false
		}
	}
	return true
}

// ErrStatement says that something is no statement of ours.
var ErrStatement = errors.New("no provenance of a disk")

// ParseStatement reads a statement, and checks that it is about a disk.
func ParseStatement(data []byte) (*Statement, error) {
	var s Statement
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	switch {
	case s.Type != StatementType:
		return nil, fmt.Errorf("%w: its type is %q, not %q", ErrStatement, s.Type, StatementType)
	case s.PredicateType != ProvenanceType:
		return nil, fmt.Errorf("%w: its predicate is %q, not %q", ErrStatement, s.PredicateType, ProvenanceType)
	case s.DiskDigest() == "":
		return nil, fmt.Errorf("%w: no subject has a digest %s", ErrStatement, DigestName)
	}
	return &s, nil
}

// DiskDigest is the digest of the disk that the statement is about.
func (s *Statement) DiskDigest() string {
	for _, d := range s.Subject {
		if v := d.Digest[DigestName]; len(v) == 64 && isHex(v) {
			return v
		}
	}
	return ""
}

// Byproduct returns the byproduct of a media type.
func (s *Statement) Byproduct(mediaType string) (Descriptor, bool) {
	for _, d := range s.Predicate.RunDetails.Byproducts {
		if d.MediaType == mediaType {
			return d, true
		}
	}
	return Descriptor{}, false
}
