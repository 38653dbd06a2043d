// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	blocks "github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
)

const attestSignHelp = `Write a signed statement about a raw disk or an AMI: its digest and, where a catalogue
knows it, how it was made. Beside it goes the list of the blocks, by which "verify" can
name the blocks that differ. An AMI is read back through the EBS direct APIs.

    openssl genpkey -algorithm ed25519 -out sign.key
    rightimage attest sign disk.raw --key sign.key
    rightimage attest sign ami-0123456789abcdef0 --region eu-west-1 --key sign.key -o web.json

A key may be Ed25519, ECDSA or RSA in PEM, or one of "cosign generate-key-pair"; the
password of an encrypted one is taken from RIGHTIMAGE_SIGNING_PASSWORD.

Exit codes: 0 written; 1 failed; 2 wrong flags; 130 stopped by a signal.`

func attestSignCommand() *cobra.Command {
	var f attestFlags
	var key, output, name, template, builder string
	cmd := &cobra.Command{
		Use:   "sign DISK.raw|AMI --key FILE",
		Short: "Write a signed statement about a disk or an AMI",
		Long:  attestSignHelp,
		Args:  oneArgument("a raw disk, or the id of an AMI"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return usageError{errors.New("--key: name the file with the private key")}
			}
			signer, err := attest.LoadSigner(key, attest.Password())
			if err != nil {
				return usageError{fmt.Errorf("--key: %w", err)}
			}
			facts := attest.Facts{Name: name, BuilderID: builder}
			if template != "" {
				if facts.Template, err = attest.Template(template); err != nil {
					return usageError{err}
				}
			}
			output = cmp.Or(output, args[0]+".provenance.sigstore.json")
			return f.sign(cmd, args[0], facts, signer, output)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&key, "key", "", "PEM `file` with the private key")
	flags.StringVarP(&output, "output", "o", "", "`file` of the statement (default: the argument with .provenance.sigstore.json)")
	flags.StringVar(&name, "name", "", "name of the image (default: the catalogue's, or that of the disk)")
	flags.StringVar(&template, "template-file", "", "template, or directory of templates, to name by digest")
	flags.StringVar(&builder, "provenance-builder-id", "", "URL that says who built")
	f.add(cmd)
	return cmd
}

// signed is what "attest sign" prints.
type signed struct {
	Target    string `json:"target"`
	Snapshot  string `json:"snapshot,omitempty"`
	Digest    string `json:"disk_digest"`
	Statement string `json:"statement"`
	Blocks    string `json:"blocks"`
	KeyID     string `json:"key_id"`
}

func (f *attestFlags) sign(cmd *cobra.Command, target string, facts attest.Facts, signer *attest.Signer, output string) error {
	ui := newProgress(cmd.ErrOrStderr())
	defer ui.Close()
	d, err := f.read(cmd.Context(), target, ui)
	if err != nil {
		return err
	}
	ui.Close()
	facts.DiskDigest = attest.DiskDigest(d.blocks)
	describe(&facts, d, target)
	var list bytes.Buffer
	m := &blocks.Manifest{BlockSize: sparse.BlockSize, VolumeGiB: d.gib, Sums: d.blocks}
	if err := m.Encode(&list); err != nil {
		return err
	}
	listFile := blockListOf(output)
	facts.Byproducts = append(facts.Byproducts, attest.Descriptor{Name: filepath.Base(listFile), MediaType: blockListType, Digest: attest.SHA256(list.Bytes())})
	data, err := attest.Sign(attest.NewStatement(facts), signer)
	if err != nil {
		return err
	}
	if err := errors.Join(atomicfile.Write(listFile, list.Bytes(), 0o644), atomicfile.Write(output, data, 0o644)); err != nil {
		return err
	}
	out := signed{target, d.snapshot, facts.DiskDigest, output, listFile, signer.KeyID()}
	if f.json {
		return printJSON(cmd.OutOrStdout(), out)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: disk digest %s\n%s: signed with key %s\n", target, out.Digest, output, out.KeyID)
	return err
}

// describe fills in what the catalogue knows.
func describe(facts *attest.Facts, d *found, target string) {
	if !amiID(target) {
		facts.File = filepath.Base(target)
	}
	e := d.entry
	if e == nil {
		facts.Name = cmp.Or(facts.Name, filepath.Base(target))
		return
	}
	facts.Name, facts.Source = cmp.Or(facts.Name, e.Name), e.BuiltBy
	facts.OS, facts.Architecture, facts.Family = strings.TrimSpace(e.OS.ID+" "+e.OS.Version), e.Architecture, e.Family
	facts.InputURL, facts.InputChecksum, facts.SourceAMI = e.Source.URL, e.Source.Checksum, e.Source.AMI
	facts.PublishID, facts.Finished = e.PublishID, e.Built
	if !amiID(target) {
		facts.FileSHA256 = e.Disk.SHA256
	}
	for _, p := range e.Proofs {
		if p.Kind == "sbom" {
			facts.Byproducts = append(facts.Byproducts, attest.Descriptor{
				Name: filepath.Base(p.File), MediaType: "application/vnd.cyclonedx+json", Digest: map[string]string{"sha256": p.SHA256},
			})
		}
	}
}

const blockListType = "application/vnd.rightimage.blocks"

// blockListOf is where the list of blocks of a statement lies.
func blockListOf(statement string) string {
	for _, end := range []string{".sigstore.json", ".json"} {
		statement = strings.TrimSuffix(statement, end)
	}
	return strings.TrimSuffix(statement, ".provenance") + ".blocklist"
}
