// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	blocks "github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
)

const attestVerifyHelp = `Check that an AMI, or a raw disk, is what its statement says: the signature of the
statement, and the digest of the blocks. Those of an AMI are read back through the EBS
direct APIs, all of them, each checked by its own sum; no instance is needed.

    rightimage attest verify ami-0123456789abcdef0 --key sign.pub
    rightimage attest verify ami-0123456789abcdef0 --region eu-west-1 --statement web.json --key sign.pub
    rightimage attest verify disk.raw --key sign.pub --json

The statement is the one that the catalogue names for the image, or --statement. When the
digest differs, the list of blocks beside the statement tells which blocks do.

Exit codes: 0 it is the same; 1 it could not be checked; 2 wrong flags; 4 it is not the
same, or the signature does not hold; 130 stopped by a signal.`

func attestVerifyCommand() *cobra.Command {
	var f attestFlags
	var v verifyStatement
	cmd := &cobra.Command{
		Use:   "verify AMI|DISK.raw --key FILE",
		Short: "Compare an AMI or a disk with its statement",
		Long:  attestVerifyHelp,
		Args:  oneArgument("the id of an AMI, or a raw disk"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case v.key == "" && !v.unsigned:
				return usageError{errors.New("--key: name the file with the public key; --unsigned believes the statement as it is")}
			case v.key != "" && v.unsigned:
				return usageError{errors.New("--unsigned: is given with --key; leave one of them out")}
			}
			return f.verify(cmd, args[0], v)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&v.key, "key", "", "PEM `file` with the public key")
	flags.BoolVar(&v.unsigned, "unsigned", false, "believe the statement without a signature")
	flags.StringVar(&v.file, "statement", "", "`file` of the statement (default: as the catalogue says, or DISK.raw.provenance.sigstore.json)")
	flags.StringVar(&v.blocks, "blocks", "", "`file` with the list of blocks (default: beside the statement)")
	flags.IntVar(&v.show, "show", 10, "how many of the differing blocks are shown")
	f.add(cmd)
	return cmd
}

// verifyStatement are the flags about the statement.
type verifyStatement struct {
	key, file, blocks string
	unsigned          bool
	show              int
}

// compared is the result of "attest verify".
type compared struct {
	Target    string `json:"target"`
	Snapshot  string `json:"snapshot,omitempty"`
	Statement string `json:"statement"`
	// Signed tells whether the signature was checked, with the key of KeyID.
	Signed bool   `json:"signed"`
	KeyID  string `json:"key_id,omitempty"`
	Name   string `json:"name,omitempty"`
	Want   string `json:"want"`
	Got    string `json:"got"`
	Same   bool   `json:"same"`
	// Differing counts the blocks that differ; Differences are the first of them.
	// Both are there when the list of blocks was.
	Differing   int                 `json:"differing,omitempty"`
	Differences []attest.Difference `json:"differences,omitempty"`
	// Note says why the blocks cannot be named.
	Note string `json:"note,omitempty"`
}

func (f *attestFlags) verify(cmd *cobra.Command, target string, v verifyStatement) error {
	var key *attest.Verifier
	var err error
	if !v.unsigned {
		if key, err = attest.LoadVerifier(v.key); err != nil {
			return usageError{fmt.Errorf("--key: %w", err)}
		}
	}
	r, err := f.compare(cmd.Context(), target, v, key, newProgress(cmd.ErrOrStderr()))
	if errors.Is(err, attest.ErrSignature) {
		fmt.Fprintln(cmd.ErrOrStderr(), "rightimage:", err)
		return errFindings
	}
	if err != nil {
		return err
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), r)
	} else {
		err = r.print(cmd.OutOrStdout())
	}
	if err == nil && !r.Same {
		return errFindings
	}
	return err
}

func (f *attestFlags) compare(ctx context.Context, target string, v verifyStatement, key *attest.Verifier, ui *progress) (*compared, error) {
	defer ui.Close()
	// The statement comes first: reading an AMI takes its time.
	d := &found{path: f.catalogue}
	file := v.file
	if file == "" {
		var err error
		if file, err = f.statementOf(d, target); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--statement: %w", err)
	}
	s, _, err := attest.Open(data, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if d, err = f.read(ctx, target, ui); err != nil {
		return nil, err
	}
	r := &compared{Target: target, Snapshot: d.snapshot, Statement: file, Signed: key != nil, Want: s.DiskDigest(), Got: attest.DiskDigest(d.blocks)}
	if len(s.Subject) > 0 {
		r.Name = s.Subject[0].Name
	}
	if key != nil {
		r.KeyID = key.KeyID()
	}
	if r.Same = r.Want == r.Got; !r.Same {
		r.name(v, d.blocks)
	}
	return r, nil
}

// statementOf finds the statement of a target: the catalogue's, or the one beside
// the disk.
func (f *attestFlags) statementOf(d *found, target string) (string, error) {
	if err := f.find(d, target); err != nil {
		return "", err
	}
	if d.entry != nil {
		if p := d.entry.Proof(d.path, "provenance"); p != "" {
			return p, nil
		}
	}
	for _, end := range []string{".provenance.sigstore.json", ".provenance.json"} {
		if _, err := os.Stat(target + end); err == nil {
			return target + end, nil
		}
	}
	return "", usageError{fmt.Errorf("--statement: there is none of %s here, and no catalogue that knows it: name the file, or --catalogue-file", target)}
}

// name lists the blocks that differ, by a list of blocks that has the digest of
// the statement: so it needs no signature of its own.
func (r *compared) name(v verifyStatement, got *sparse.Linear) {
	file := v.blocks
	if file == "" {
		file = blockListOf(r.Statement)
	}
	m, err := blocks.ReadManifest(file)
	switch {
	case err != nil:
		r.Note = fmt.Sprintf("which blocks differ cannot be told without the list of blocks: %v", err)
		return
	case attest.DiskDigest(m.Sums) != r.Want:
		r.Note = fmt.Sprintf("which blocks differ cannot be told: %s is the list of another disk", file)
		return
	}
	all := attest.Differences(m.Sums, got)
	r.Differing, r.Differences = len(all), all[:min(len(all), max(v.show, 0))]
}

func (r *compared) print(w io.Writer) error {
	what := r.Target
	if r.Snapshot != "" {
		what += " (" + r.Snapshot + ")"
	}
	by := "not signed"
	if r.Signed {
		by = "signed with key " + r.KeyID
	}
	if r.Same {
		_, err := fmt.Fprintf(w, "%s is %s as %s says, %s\ndisk digest %s\n", what, r.Name, r.Statement, by, r.Got)
		return err
	}
	fmt.Fprintf(w, "%s is NOT what %s says, %s\nwanted disk digest %s\nfound  disk digest %s\n", what, r.Statement, by, r.Want, r.Got)
	for _, d := range r.Differences {
		fmt.Fprintf(w, "block %d (from byte %d): wanted %s, found %s\n", d.Block, d.Offset, orZeros(d.Want), orZeros(d.Got))
	}
	if n := r.Differing - len(r.Differences); n > 0 {
		fmt.Fprintf(w, "and %d more blocks\n", n)
	}
	if r.Note != "" {
		fmt.Fprintln(w, r.Note)
	}
	return nil
}

func orZeros(s string) string {
	if s == "" {
		return "zeros"
	}
	return s
}
