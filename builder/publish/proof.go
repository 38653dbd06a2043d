// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// ProofConfig says what is written beside the catalogue to prove what an image
// is and how it was made.
type ProofConfig struct {
	// Write a bill of materials: the packages of the image and the modules of
	// its Go programs, as CycloneDX. Default true where the files of the disk can
	// be read.
	SBOM config.Trilean `mapstructure:"sbom"`
	// Write the provenance: an in-toto statement (SLSA v1) with the digest of the
	// disk, what it was made of, by whom and when. Default true for disks. For
	// `rightimage-ebs` it needs the snapshot to be read back, so that the default
	// is false there unless `signing_key_file` is given.
	WriteProvenance config.Trilean `mapstructure:"provenance"`
	// PEM file with the private key that signs the provenance (Ed25519, ECDSA or
	// RSA, or one of `cosign generate-key-pair`). Its password, if it has one, is in
	// the environment variable `RIGHTIMAGE_SIGNING_PASSWORD`. Default: not signed.
	SigningKeyFile string `mapstructure:"signing_key_file"`
	// Template, or directory with the templates, whose SHA-256 the provenance
	// names; Packer does not tell it: `"${path.root}"`.
	TemplateFile string `mapstructure:"template_file"`
	// Builder id of the provenance: a URL that says who built. Default: that of
	// this project.
	ProvenanceBuilderID string `mapstructure:"provenance_builder_id"`
	// Directory for bill of materials, provenance and block list. Default: that of
	// the finished disk, or of `catalogue_file`.
	ProofDirectory string `mapstructure:"proof_directory"`
}

// Names of proofs are those of the image or disk with these ends.
const (
	sbomEnd       = ".sbom.cdx.json"
	statementEnd  = ".provenance.json"
	bundleEnd     = ".provenance.sigstore.json"
	blockListEnd  = ".blocklist"
	blockListType = "application/vnd.rightimage.blocks"
)

// PrepareProof returns what is wrong with the options of proofs, before anything
// is built.
func (c *Config) PrepareProof() []error {
	var p problems
	if c.SigningKeyFile != "" {
		if c.WriteProvenance.False() {
			p.add("signing_key_file", "is set, and provenance is false", "leave one of them out")
		}
		if _, err := attest.LoadSigner(c.SigningKeyFile, attest.Password()); err != nil {
			p = append(p, fmt.Errorf("signing_key_file: %w", err))
		}
	}
	if c.TemplateFile != "" {
		if _, err := attest.Template(c.TemplateFile); err != nil {
			p = append(p, err)
		}
	}
	if c.ProofDirectory != "" {
		if info, err := os.Stat(c.ProofDirectory); err != nil || !info.IsDir() {
			p.add("proof_directory", fmt.Sprintf("%q is no directory", c.ProofDirectory), "make it, or choose another")
		}
	}
	return p
}

// checkImageProof finds what an image of a machine cannot have.
func (c *Config) checkImageProof(p *problems) {
	if c.SBOM.True() {
		p.add("sbom", "is true, but the files of a machine's image are not at hand", "leave it out, and run `rightimage sbom /` on the machine")
	}
	if c.provesImage() && c.proofDirectory() == "" {
		p.add("proof_directory", "is missing, and there is no catalogue_file to write the provenance beside", "set one of them")
	}
}

// provesImage reports whether the provenance of an image of a machine is wanted.
func (c *Config) provesImage() bool {
	return c.WriteProvenance.True() || c.SigningKeyFile != "" && !c.WriteProvenance.False()
}

// proofDirectory is where proofs go; "" when nobody has said.
func (c *Config) proofDirectory() string {
	switch {
	case c.ProofDirectory != "":
		return c.ProofDirectory
	case c.DiskName != "":
		return filepath.Dir(c.DiskName)
	case c.CatalogueFile != "":
		return filepath.Dir(c.CatalogueFile)
	}
	return ""
}

// TakeInventory lists what is in the disk at path, with Facts.Inventory. What
// cannot be read is an error only when sbom asks for it.
func (c Config) TakeInventory(ctx context.Context, path string, say func(string)) (*sbom.Inventory, error) {
	if c.SBOM.False() {
		return nil, nil //nolint:nilnil // none is wanted
	}
	if c.Inventory == nil {
		if c.SBOM.True() {
			return nil, errors.New("sbom: the files of the disk cannot be read here, which needs root: run as root, or leave it out")
		}
		return nil, nil //nolint:nilnil // not at hand
	}
	inv, err := c.Inventory(ctx, path)
	switch {
	case err != nil && (c.SBOM.True() || ctx.Err() != nil):
		return nil, fmt.Errorf("sbom: %w", err)
	case err != nil:
		say(fmt.Sprintf("no bill of materials is written: %v", err))
		return nil, nil //nolint:nilnil // the user was told
	}
	say("The image holds " + inv.String())
	for _, note := range inv.Notes {
		say("  " + note)
	}
	return inv, nil
}

// Proven is what proofs are about.
type Proven struct {
	// Name is that of the image, or the file name of a disk that is not published.
	Name string
	// Blocks are the sums of the disk's blocks; nil when only the bill of
	// materials is to be written.
	Blocks    *sparse.Linear
	VolumeGiB int64
	Inventory *sbom.Inventory
	PublishID string
	// Put writes a file, and sees to it that it goes when the build fails.
	Put func(path string, data []byte) error
}

// Prove writes bill of materials, block list and provenance, and returns what
// the catalogue says of them, and the digest of the disk.
func (c Config) Prove(of Proven) (proofs []catalogue.Proof, digest string, err error) {
	dir, err := filepath.Abs(cmp.Or(c.proofDirectory(), "."))
	if err != nil {
		return nil, "", err
	}
	base := filepath.Join(dir, fileName(of.Name))
	var products []attest.Descriptor
	write := func(kind, end, mediaType string, data []byte) error {
		if err := of.Put(base+end, data); err != nil {
			return fmt.Errorf("write %s: %w", kind, err)
		}
		sum := attest.SHA256(data)
		proofs = append(proofs, catalogue.Proof{Kind: kind, File: base + end, SHA256: sum["sha256"]})
		products = append(products, attest.Descriptor{Name: filepath.Base(base + end), MediaType: mediaType, Digest: sum})
		return nil
	}
	if of.Inventory != nil {
		var b bytes.Buffer
		if err := of.Inventory.WriteJSON(&b, sbom.About{Name: of.Name, Time: c.About.Built}); err != nil {
			return nil, "", err
		}
		if err := write("sbom", sbomEnd, sbom.MediaType, b.Bytes()); err != nil {
			return nil, "", err
		}
	}
	if of.Blocks == nil {
		return proofs, "", nil
	}
	var list bytes.Buffer
	m := &upload.Manifest{BlockSize: sparse.BlockSize, VolumeGiB: of.VolumeGiB, Sums: of.Blocks}
	if err := m.Encode(&list); err != nil {
		return nil, "", err
	}
	if err := write("blocks", blockListEnd, blockListType, list.Bytes()); err != nil {
		return nil, "", err
	}
	digest = attest.DiskDigest(of.Blocks)
	end, data, err := c.statement(of, digest, products)
	if err != nil {
		return nil, "", err
	}
	return proofs, digest, errors.Join(write("provenance", end, attest.PayloadType, data), err)
}

// statement is the provenance, signed if there is a key.
func (c Config) statement(of Proven, digest string, products []attest.Descriptor) (end string, data []byte, err error) {
	f := attest.Facts{
		Name: of.Name, DiskDigest: digest, Source: c.Maker, OS: strings.TrimSpace(c.About.OS.ID + " " + c.About.OS.Version),
		Architecture: cmp.Or(c.About.Architecture, c.AMIArchitecture), Family: c.Family, InputURL: c.About.Source.URL, InputChecksum: c.About.Source.Checksum,
		SourceAMI: c.About.Source.AMI, BuilderID: c.ProvenanceBuilderID, PublishID: of.PublishID, Byproducts: products,
		Started: c.Started, Finished: time.Now(),
	}
	if of.Inventory != nil {
		f.Packages = map[string]int{}
		for _, kind := range []string{sbom.Deb, sbom.RPM, sbom.APK, sbom.Golang} {
			if n := of.Inventory.Count(kind); n > 0 {
				f.Packages[kind] = n
			}
		}
	}
	if c.TemplateFile != "" {
		if f.Template, err = attest.Template(c.TemplateFile); err != nil {
			return "", nil, err
		}
	}
	s := attest.NewStatement(f)
	if c.SigningKeyFile == "" {
		data, err = s.Encode()
		return statementEnd, data, err
	}
	signer, err := attest.LoadSigner(c.SigningKeyFile, attest.Password())
	if err != nil {
		return "", nil, fmt.Errorf("signing_key_file: %w", err)
	}
	data, err = attest.Sign(s, signer)
	return bundleEnd, data, err
}

// fileName makes a file name of an image's name, which may have slashes and
// blanks.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@", r) {
			return r
		}
		return '-'
	}, name)
}

// prove writes the proofs of the images.
func (p *Publisher) prove(ctx context.Context, b *build) error {
	of := Proven{Name: p.AMIName, Inventory: p.inventory, PublishID: p.publishID, Put: func(path string, data []byte) error {
		undo, err := PutFile(path, data)
		b.owed.Owe("file "+path, "", func(context.Context) error { return undo() })
		return err
	}}
	var err error
	if of.Blocks, of.VolumeGiB, err = p.provenBlocks(ctx, b); err != nil {
		return err
	}
	if of.Blocks == nil && of.Inventory == nil {
		return nil
	}
	b.proofs, b.digest, err = p.Prove(of)
	return err
}

// provenBlocks are the blocks of the images: as they were uploaded, or as the
// first image's root snapshot has them.
func (p *Publisher) provenBlocks(ctx context.Context, b *build) (*sparse.Linear, int64, error) {
	for _, r := range p.regions {
		if i := b.images[r]; i != nil && i.upload != nil && i.upload.Manifest != nil {
			if p.WriteProvenance.False() {
				return nil, 0, nil
			}
			return i.upload.Manifest.Sums, i.upload.Manifest.VolumeGiB, nil
		}
	}
	if !p.provesImage() {
		return nil, 0, nil
	}
	r := p.regions[0]
	id := RootSnapshot(b.images[r].described)
	if id == "" {
		return nil, 0, fmt.Errorf("provenance: image %s in %s has no snapshot of its root device", b.images[r].id, r.name)
	}
	p.say("%s: reading %s back for the digest of its disk", r.name, id)
	m, err := upload.ReadBack(ctx, r.name, r.blocks, id, upload.Options{
		Concurrency: p.UploadConcurrency, AttemptTimeout: p.UploadAttemptTimeout, StallTimeout: p.UploadTimeout,
	}, nil)
	if err != nil {
		return nil, 0, r.explain("read "+id, r.name, err)
	}
	return m.Sums, m.VolumeGiB, nil
}

// RootSnapshot is the snapshot of an image's root device; "" when it has none.
func RootSnapshot(i types.Image) string {
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.DeviceName) == aws.ToString(i.RootDeviceName) {
			return aws.ToString(d.Ebs.SnapshotId)
		}
	}
	return ""
}

// PutFile writes a file and returns what puts back what was there before.
func PutFile(path string, data []byte) (undo func() error, err error) {
	former, err := os.ReadFile(path)
	undo = func() error { return atomicfile.Write(path, former, 0o644) }
	if errors.Is(err, fs.ErrNotExist) {
		undo = func() error {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
	} else if err != nil {
		return func() error { return nil }, err
	}
	return undo, atomicfile.Write(path, data, 0o644)
}
