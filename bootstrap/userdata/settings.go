// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// Settings are the platform settings of one launch.
type Settings struct {
	ClientID         string
	ClientSecret     secret.String
	Account          string // an account number
	APIHostname      string // host or host:port
	HTTPProxy        string
	NoProxy          string
	ContactEmail     string
	AutoLaunch       string
	ExpectedPublicIP string

	// Version is RS_version, Src RS_src, PatchURL RS_patch_url, by the seed
	// script's rules; empty when absent.
	Version  string
	Src      string
	PatchURL string

	// Form is the form that the settings came from.
	Form Form
}

// IdentityPath is where the RL10 identity file lies on the instance.
const IdentityPath = "/var/lib/rightscale-identity"

// Settings returns the platform settings, and false when user-data has none or
// only a part of them. A half of them is worth a message: Incomplete gives it.
func (d Data) Settings() (Settings, bool) {
	s, problems := d.settings()
	return s, s.ClientID != "" && len(problems) == 0
}

// Incomplete says, without secrets, why user-data that speaks of a platform
// does not count as platform settings; nil when it does or never spoke of one.
func (d Data) Incomplete() []string {
	s, problems := d.settings()
	if s == (Settings{Form: d.Form, Version: s.Version, Src: s.Src, PatchURL: s.PatchURL}) {
		return nil
	}
	return problems
}

func (d Data) settings() (Settings, []string) {
	names, pairs := queryNames, d.Pairs
	if len(d.identity) > 0 {
		names, pairs = identityNames, d.identity
	}
	s := fromPairs(names, pairs)
	s.Form = d.Form
	if token, _ := lookup(pairs, "RS_API_TOKEN"); s.Account == "" {
		if number, _, ok := strings.Cut(token, ":"); ok { // <account>:<instance token>
			s.Account = number
		}
	}
	s.Version, s.Src, s.PatchURL = d.seedKeys()
	return s, s.check(names)
}

// names maps a setting to its spellings in one form, first one first.
type names struct {
	id, secret, account, host, proxy, noProxy, email, auto, publicIP []string
}

var queryNames = names{
	id: []string{"RS_rn_id"}, secret: []string{"RS_rn_auth"}, account: []string{"RS_account"},
	host: []string{"RS_server"}, proxy: []string{"RS_http_proxy"},
	// The manuals name the one, the agent's code reads the other.
	noProxy: []string{"RS_no_proxy", "RS_http_no_proxy"}, publicIP: []string{"RS_EIP"},
	email: []string{"RS_contact_email"}, auto: []string{"RS_auto_launch"},
}

var identityNames = names{
	id: []string{"client_id"}, secret: []string{"client_secret"}, account: []string{"account"},
	host: []string{"api_hostname"}, proxy: []string{"http_proxy"}, noProxy: []string{"no_proxy"},
	email: []string{"contact_email"}, auto: []string{"auto_launch"}, publicIP: []string{"expected_public_ip"},
}

func fromPairs(n names, pairs []Pair) Settings {
	get := func(keys []string) string {
		for _, k := range keys {
			if v, ok := lookup(pairs, k); ok && v != "" {
				return v
			}
		}
		return ""
	}
	return Settings{
		ClientID: get(n.id), ClientSecret: secret.String(get(n.secret)), Account: get(n.account),
		APIHostname: get(n.host), HTTPProxy: get(n.proxy), NoProxy: get(n.noProxy),
		ContactEmail: get(n.email), AutoLaunch: get(n.auto), ExpectedPublicIP: get(n.publicIP),
	}
}

// Shapes of values. They go into a shell file, HTTP headers and URLs, so each
// is checked once, here; by hand, since compiling such patterns costs every
// start of the program more than all the rest of it.

func isTokenID(s string) bool {
	return len(s) <= 128 && s != "" && isAlnum(s[0]) && only(s, func(c byte) bool { return isAlnum(c) || strings.IndexByte("._-", c) >= 0 })
}

func isToken(s string) bool { return s != "" && len(s) <= 1000 && only(s, isGraph) }

func isAccount(s string) bool { return s != "" && len(s) <= 19 && only(s, isDigit) }

// isHostPort accepts a name or address, with a port or without; an IPv6 address
// stands in brackets.
func isHostPort(s string) bool {
	host := s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		port := s[i+1:]
		host = s[:i]
		if port == "" || len(port) > 5 || !only(port, isDigit) {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && len(inner) >= 2 && len(inner) <= 45 && only(inner, func(c byte) bool {
			return isDigit(c) || c == ':' || c == '.' || 'a' <= c|0x20 && c|0x20 <= 'f'
		})
	}
	return host != "" && len(host) <= 253 && isAlnum(host[0]) &&
		only(host, func(c byte) bool { return isAlnum(c) || strings.IndexByte("._-", c) >= 0 })
}

func isLine(s string) bool {
	return s != "" && len(s) <= 1000 && only(s, func(c byte) bool { return c == ' ' || isGraph(c) })
}

func isGraph(c byte) bool { return '!' <= c && c <= '~' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' }

func only(s string, accept func(byte) bool) bool {
	for i := range len(s) {
		if !accept(s[i]) {
			return false
		}
	}
	return true
}

// check lists what is missing or malformed and clears malformed optional
// values, so that a bad proxy does not keep an instance from enrolling.
func (s *Settings) check(n names) []string {
	var problems []string
	need := func(key []string, value string, shape func(string) bool, what string) {
		switch {
		case value == "":
			problems = append(problems, key[0]+" is missing")
		case !shape(value):
			problems = append(problems, fmt.Sprintf("%s is not %s", key[0], what))
		}
	}
	need(n.id, s.ClientID, isTokenID, "a token id")
	need(n.secret, s.ClientSecret.Reveal(), isToken, "a token")
	need(n.host, s.APIHostname, isHostPort, "a host name or host:port without scheme")
	need(n.account, s.Account, isAccount, "an account number")
	for _, v := range []*string{&s.HTTPProxy, &s.NoProxy, &s.ContactEmail, &s.AutoLaunch, &s.ExpectedPublicIP} {
		if !isLine(*v) {
			*v = ""
		}
	}
	return problems
}

// Identity renders the RL10 identity file (mode 0600): shell assignments in
// single quotes. Required keys come first, empty optional ones are left out.
func (s Settings) Identity() []byte {
	var b strings.Builder
	put := func(key, value string) {
		fmt.Fprintf(&b, "%s='%s'\n", key, strings.ReplaceAll(value, "'", `'\''`))
	}
	put("client_id", s.ClientID)
	put("client_secret", s.ClientSecret.Reveal())
	put("account", s.Account)
	put("api_hostname", s.APIHostname)
	for _, o := range []Pair{
		{"contact_email", s.ContactEmail}, {"auto_launch", s.AutoLaunch},
		{"expected_public_ip", s.ExpectedPublicIP}, {"http_proxy", s.HTTPProxy}, {"no_proxy", s.NoProxy},
	} {
		if o.Value != "" {
			put(o.Key, o.Value)
		}
	}
	return []byte(b.String())
}

// ParseIdentity reads the content of an identity file; false when a required
// key is missing or malformed.
func ParseIdentity(content []byte) (Settings, bool) {
	s := fromPairs(identityNames, assignments(normalise(content)))
	problems := s.check(identityNames)
	return s, len(problems) == 0
}
