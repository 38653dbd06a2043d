// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package userdata writes the launch settings of an instance in the forms that
// RightLink agents read. User-data can be read by every process on an instance,
// so it carries identity and enrolment token only, never a credential.
package userdata

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// MaxSize is EC2's limit of user-data in bytes, before base64.
const MaxSize = 16 << 10

// Form is a document form.
type Form string

// The forms.
const (
	// FormQuery is the one-line key=value form of RightLink 5 and 6.
	FormQuery Form = "query"
	// FormMime is a MIME document whose identity part is a shell script.
	FormMime Form = "mime"
	// FormMimeCloudConfig is a MIME document whose identity part is a
	// cloud-config with write_files.
	FormMimeCloudConfig Form = "mime-cloud-config"
	// FormTemplate takes the user's own user-data as a template, see template.go.
	FormTemplate Form = "template"
)

// Forms lists all forms.
func Forms() []Form { return []Form{FormQuery, FormMime, FormMimeCloudConfig, FormTemplate} }

// ParseForm reads the name of a form.
func ParseForm(s string) (Form, error) {
	for _, f := range Forms() {
		if string(f) == s {
			return f, nil
		}
	}
	return "", fmt.Errorf("unknown form %q; want query, mime, mime-cloud-config or template", s)
}

// Settings are what goes into user-data.
type Settings struct {
	TokenID int64
	Token   secret.String
	Account int64
	Server  string // host or host:port of the platform as instances see it
	Version string // wanted RightLink version; empty for the image's own
	// HTTPProxy (host:port) and NoProxy (comma list) are optional.
	HTTPProxy string
	NoProxy   string
	// Package and PatchURL are RS_src and RS_patch_url of the query form.
	Package  string
	PatchURL string
	// ScriptURL and IncludeURL are further parts of the MIME forms: a script that
	// downloads and runs the URL, and a part of the type text/x-include-url.
	ScriptURL  string
	IncludeURL string
	// Own is the user's own user-data, appended to ours.
	Own string
}

// ErrTooLarge reports a document above MaxSize.
var ErrTooLarge = errors.New("user-data is too large")

// Build writes the document.
func Build(form Form, s Settings) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	var doc string
	var err error
	switch form {
	case FormQuery:
		doc, err = query(s)
	case FormMime:
		doc, err = mime(s, shellIdentity(s))
	case FormMimeCloudConfig:
		doc, err = mime(s, cloudConfigIdentity(s))
	case FormTemplate:
		doc, err = template(s)
	default:
		_, err = ParseForm(string(form))
	}
	if err != nil {
		return "", err
	}
	if len(doc) > MaxSize {
		return "", fmt.Errorf("%w: %d bytes, the limit of EC2 is %d; the user's own part has %d bytes, shorten it", ErrTooLarge, len(doc), MaxSize, len(s.Own))
	}
	return doc, nil
}

var (
	serverForm  = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?$`)
	versionForm = regexp.MustCompile(`^[0-9a-z._-]+$`)
	tokenForm   = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	proxyForm   = regexp.MustCompile(`^[A-Za-z0-9.:@\[\]_~%-]+$`)
	urlForm     = regexp.MustCompile(`^https?://[A-Za-z0-9._~:/?#@!$()*+,;=%\[\]-]+$`)
	packageForm = regexp.MustCompile(`^[A-Za-z0-9._~:/@+,%-]+$`)
	noProxyForm = regexp.MustCompile(`^[A-Za-z0-9.:,/*_-]+$`)
)

// CheckServer tells why a value cannot be the platform's public name: a host or
// host:port without a scheme.
func CheckServer(host string) error {
	if !serverForm.MatchString(host) {
		return fmt.Errorf("%q must be host or host:port, without a scheme", host)
	}
	return nil
}

// check refuses whatever could break out of its place in any of the forms:
// a quote, an ampersand, a line end.
func (s Settings) check() error {
	var errs []error
	want := func(ok bool, what, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("user-data: %s: %s", what, rule))
		}
	}
	want(s.TokenID > 0, "token id", "must be a positive number")
	want(s.Account > 0, "account", "must be a positive number")
	want(tokenForm.MatchString(s.Token.Reveal()), "token", "must be letters and digits")
	if err := CheckServer(s.Server); err != nil {
		errs = append(errs, fmt.Errorf("user-data: server %w", err))
	}
	want(s.Version == "" || versionForm.MatchString(s.Version), "RightLink version "+strconv.Quote(s.Version), "may hold digits, lower-case letters, dots, dashes and underscores")
	want(s.HTTPProxy == "" || proxyForm.MatchString(s.HTTPProxy), "http proxy", "must be host:port or user:password@host:port")
	want(s.NoProxy == "" || noProxyForm.MatchString(s.NoProxy), "no proxy", "must be a comma list of hosts")
	want(s.Package == "" || packageForm.MatchString(s.Package), "package", "must be a file name or URL without & and spaces")
	for _, opt := range [][2]string{{"patch URL", s.PatchURL}, {"script URL", s.ScriptURL}, {"include URL", s.IncludeURL}} {
		want(opt[1] == "" || urlForm.MatchString(opt[1]), opt[0], "must be an http or https URL without quotes, & and spaces")
	}
	want(utf8.ValidString(s.Own) && !strings.ContainsRune(s.Own, 0), "own user-data", "must be UTF-8 text")
	return errors.Join(errs...)
}

func query(s Settings) (string, error) {
	own := strings.TrimRight(s.Own, "\r\n")
	if strings.ContainsAny(own, "\r\n") {
		return "", errors.New("user-data: own user-data has several lines, which the query form cannot hold; use the form mime or mime-cloud-config")
	}
	host := s.Server
	// RightLink 6 parses RS_rn_url even when it talks HTTP only.
	items := []string{
		"RS_rn_url=amqp://rightlink@" + host + "/right_net",
		"RS_rn_id=" + strconv.FormatInt(s.TokenID, 10),
		"RS_rn_auth=" + s.Token.Reveal(),
		"RS_server=" + host,
		"RS_account=" + strconv.FormatInt(s.Account, 10),
	}
	for _, opt := range [][2]string{{"RS_version", s.Version}, {"RS_http_proxy", s.HTTPProxy}, {"RS_http_no_proxy", s.NoProxy},
		{"RS_src", s.Package}, {"RS_patch_url", s.PatchURL}} {
		if opt[1] != "" {
			items = append(items, opt[0]+"="+opt[1])
		}
	}
	if own = strings.Trim(own, "&"); own != "" {
		items = append(items, own)
	}
	return strings.Join(items, "&"), nil
}
