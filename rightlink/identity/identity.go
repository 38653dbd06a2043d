// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package identity reads the file in which bootstrap leaves the enrolment
// identity of the instance. The file has the form of shell assignments and is
// parsed, never executed.
package identity

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// ErrAbsent says that the instance has no identity: it was launched without
// platform settings and stays dormant.
var ErrAbsent = errors.New("no enrolment identity on this machine")

// Identity is what the instance knows about itself and its platform.
type Identity struct {
	ClientID     string
	ClientSecret secret.String
	Account      string
	// APIHostname is host or host:port.
	APIHostname string
	HTTPProxy   string
	NoProxy     string
}

// Load reads and checks the identity file.
func Load(path string) (Identity, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("%w (%s does not exist)", ErrAbsent, path)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	id, err := Parse(string(text))
	if err != nil {
		return Identity{}, fmt.Errorf("read identity %s: %w", path, err)
	}
	return id, nil
}

// Parse reads assignments of the form name='value', name="value" or
// name=value, one a line, with an optional "export" before it. Comments and
// empty lines are skipped. All problems are reported at once.
func Parse(text string) (Identity, error) {
	values, err := assignments(text)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{
		ClientID:     values["client_id"],
		ClientSecret: secret.String(values["client_secret"]),
		Account:      values["account"],
		APIHostname:  values["api_hostname"],
		HTTPProxy:    values["http_proxy"],
		NoProxy:      values["no_proxy"],
	}
	return id, id.check()
}

func (id Identity) check() error {
	var problems []error
	for _, f := range []struct{ name, value string }{
		{"client_id", id.ClientID}, {"client_secret", id.ClientSecret.Reveal()},
		{"account", id.Account}, {"api_hostname", id.APIHostname},
	} {
		if f.value == "" {
			problems = append(problems, fmt.Errorf("%s is missing", f.name))
		}
	}
	if n, err := strconv.ParseInt(id.ClientID, 10, 64); id.ClientID != "" && (err != nil || n < 0 || strconv.FormatInt(n, 10) != id.ClientID) {
		problems = append(problems, fmt.Errorf("client_id %q is not a number", id.ClientID))
	}
	if _, err := strconv.ParseInt(id.Account, 10, 64); id.Account != "" && err != nil {
		problems = append(problems, fmt.Errorf("account %q is not a number", id.Account))
	}
	if strings.ContainsAny(id.APIHostname, "/@?# \t") {
		problems = append(problems, fmt.Errorf("api_hostname %q must be a host or host:port, without a scheme or path", id.APIHostname))
	}
	return errors.Join(problems...)
}

// AccountID returns the account as a number; Parse has checked it.
func (id Identity) AccountID() int64 {
	n, _ := strconv.ParseInt(id.Account, 10, 64)
	return n
}

// APIURL is the base of the platform's API before the platform names another.
func (id Identity) APIURL() string { return "https://" + id.APIHostname + "/api" }

// AgentID is the public name of this agent: the hash of token id and token,
// and the token id. It changes with the token and does not reveal it.
func (id Identity) AgentID() string {
	sum := sha1.Sum([]byte(id.ClientID + "*" + id.ClientSecret.Reveal()))
	return "rs-instance-" + hex.EncodeToString(sum[:]) + "-" + id.ClientID
}
