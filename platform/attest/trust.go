// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package attest

import (
	"crypto/rsa"
	"crypto/x509"
	_ "embed" // the certificates of AWS
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// aws holds the RSA-2048 certificates that AWS publishes, each with its region
// in a header line.
//
//go:embed aws.pem
var aws []byte

// minBits is the least size of a key that is believed.
const minBits = 2048

// Certificate proves documents of one region, or of any when Region is empty.
// Its own validity and issuer mean nothing: it is trusted because it is here,
// as AWS's own instructions have it.
type Certificate struct {
	Region string
	*x509.Certificate
}

// Trust says whose documents are believed.
type Trust struct {
	// Files are PEM files of further certificates; they are read anew each time,
	// so that a change needs no restart. A block may have a header "Region: NAME".
	Files []string
	// NoAWS leaves out the certificates of AWS that come with this program.
	NoAWS bool
}

// certificates returns those whose region is wanted, and those of any region.
func (t Trust) certificates(wanted func(region string) bool) ([]Certificate, error) {
	var list []Certificate
	if !t.NoAWS {
		var err error
		if list, err = parse(aws, wanted); err != nil {
			return nil, fmt.Errorf("certificates of AWS: %w", err)
		}
	}
	for _, name := range t.Files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("identity certificates: %w", err)
		}
		more, err := parse(text, wanted)
		if err != nil {
			return nil, fmt.Errorf("identity certificates in %s: %w", name, err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// Check reads all certificates, so that a mistake shows when a program starts.
func (t Trust) Check() error {
	_, err := t.certificates(func(string) bool { return true })
	return err
}

// parse reads a PEM file; blocks of regions that are not wanted are left out,
// since parsing them all would be most of the work of an enrolment.
func parse(text []byte, wanted func(region string) bool) ([]Certificate, error) {
	var list []Certificate
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		found = true
		region := block.Headers["Region"]
		if region != "" && !wanted(region) {
			continue
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a block is %q; want CERTIFICATE only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() < minBits {
			return nil, fmt.Errorf("the key of the certificate with serial %d is not RSA of %d bits or more; want those for the RSA-2048 signature", cert.SerialNumber, minBits)
		}
		list = append(list, Certificate{Region: region, Certificate: cert})
	}
	if !found {
		return nil, errors.New("there is no PEM certificate")
	}
	return list, nil
}
