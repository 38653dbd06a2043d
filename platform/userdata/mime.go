// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// IdentityPath is where RightLink 10 looks for its identity.
const IdentityPath = "/var/lib/rightscale-identity"

type part struct{ contentType, body string }

// identity is the content of the identity file. check has made sure that no
// value can hold a quote, so single quotes are enough.
func identity(s Settings) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s='%s'\n", key, value)
		}
	}
	line("client_id", fmt.Sprint(s.TokenID))
	line("client_secret", s.Token.Reveal())
	line("account", fmt.Sprint(s.Account))
	line("api_hostname", s.Server)
	line("http_proxy", s.HTTPProxy)
	line("no_proxy", s.NoProxy)
	return b.String()
}

// shellIdentity is run again on every boot and writes the same content. The
// file is private from its first moment: umask, not a late chmod.
func shellIdentity(s Settings) part {
	return part{"text/x-shellscript", "#! /bin/bash\numask 0077\ncat <<'EOF' >" + IdentityPath + "\n" + identity(s) + "EOF\nchmod 0600 " + IdentityPath + "\n"}
}

func cloudConfigIdentity(s Settings) part {
	var b strings.Builder
	b.WriteString("#cloud-config\nwrite_files:\n  - path: " + IdentityPath + "\n    permissions: '0600'\n    content: |\n")
	for line := range strings.Lines(identity(s)) {
		b.WriteString("      " + line)
	}
	return part{"text/cloud-config", b.String()}
}

// ownPart gives the user's part the type its beginning asks for.
func ownPart(own string) part {
	switch {
	case strings.HasPrefix(own, "#!"):
		return part{"text/x-shellscript", own}
	case strings.HasPrefix(own, "http"):
		return part{"text/x-include-url", own}
	default:
		return part{"text/plain", own}
	}
}

// scriptPart downloads a script and runs it. It is run again on every boot, so
// the script must bear that. check has made sure that no value holds a quote.
func scriptPart(s Settings) part {
	proxy := ""
	if s.HTTPProxy != "" {
		proxy = "export http_proxy='http://" + s.HTTPProxy + "' https_proxy='http://" + s.HTTPProxy + "' no_proxy='" + s.NoProxy + "'\n"
	}
	return part{"text/x-shellscript", "#! /bin/bash\nset -e\n" + proxy +
		"script=$(mktemp)\ntrap 'rm -f \"$script\"' EXIT\n" +
		"curl -fsSL --retry 5 -o \"$script\" '" + s.ScriptURL + "' || wget -q -O \"$script\" '" + s.ScriptURL + "'\n" +
		"bash \"$script\"\n"}
}

// mime builds the document. Boundary and ids come from the content, so that
// printing the same user-data twice gives the same bytes.
func mime(s Settings, id part) (string, error) {
	parts := []part{id}
	if s.ScriptURL != "" {
		parts = append(parts, scriptPart(s))
	}
	if s.IncludeURL != "" {
		parts = append(parts, part{"text/x-include-url", s.IncludeURL + "\n"})
	}
	if s.Own != "" {
		parts = append(parts, ownPart(s.Own))
	}
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p.contentType + "\x00" + p.body + "\x00"))
	}
	mark := hex.EncodeToString(h.Sum(nil))[:16]
	boundary := "Boundary_" + mark
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%q\nMIME-Version: 1.0\n\n", boundary)
	for i, p := range parts {
		if strings.Contains(p.body, "--"+boundary) {
			return "", fmt.Errorf("user-data: own user-data holds the boundary %q", boundary)
		}
		// The line end before a boundary belongs to the boundary.
		fmt.Fprintf(&b, "--%s\nContent-Type: %s\nContent-ID: <%d@%s.local>\n\n%s\n", boundary, p.contentType, i+1, mark, p.body)
	}
	b.WriteString("--" + boundary + "--\n")
	return b.String(), nil
}
