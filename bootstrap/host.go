// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Marks around and in what this file writes, so that it can be found again.
const (
	hostsBegin = "# rightimage: begin"
	hostsEnd   = "# rightimage: end"
	proxyMark  = "# Written by rightimage from user-data."
	proxyFile  = "/etc/profile.d/http_proxy.sh"
	hostsFile  = "/etc/hosts"
)

// isHostName accepts a name of labels with letters, digits and inner dashes.
func isHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		inner := strings.TrimFunc(label, func(r rune) bool {
			return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '-'
		})
		if label == "" || len(label) > 63 || inner != "" || label[0] == '-' {
			return false
		}
	}
	return len(name) <= 253
}

// hostname gives a nameless machine the cloud's name for it. Only the kernel's
// name is set, at each boot anew, and a marked block of /etc/hosts: an image
// made of the instance carries no foreign name.
func (a *Agent) hostname(fqdn, ip string) ([]string, error) {
	get, set := a.Hostname, a.SetHostname
	if get == nil {
		get, set = os.Hostname, func(name string) error { return unix.Sethostname([]byte(name)) }
		if filepath.Clean(a.Root) != "/" {
			return nil, nil
		}
	}
	current, err := get()
	if err != nil || !nameless(current) {
		return nil, err
	}
	if fqdn == "" {
		return nil, nil
	}
	short, _, _ := strings.Cut(fqdn, ".")
	if err := set(short); err != nil {
		return nil, fmt.Errorf("set host name %s: %w", short, err)
	}
	changed := []string{"host name " + short}
	if ip == "" {
		return changed, nil
	}
	more, err := a.hosts(fmt.Sprintf("%s\n%s %s %s\n%s\n", hostsBegin, ip, fqdn, short, hostsEnd))
	return append(changed, more...), err
}

func nameless(name string) bool {
	short, _, _ := strings.Cut(name, ".")
	return short == "" || short == "localhost" || short == "(none)"
}

// cloudName returns the full name and the address that the cloud tells; empty
// if they are not what they should be.
func cloudName(tree *cloud.Tree) (fqdn, ip string) {
	text, _ := tree.Get("local-hostname")
	address, _ := tree.Get("local-ipv4")
	if net.ParseIP(strings.TrimSpace(address)) != nil {
		ip = strings.TrimSpace(address)
	}
	words := strings.Fields(text) // several when DHCP names several domains
	if len(words) == 0 {
		return "", ""
	}
	if net.ParseIP(words[0]).To4() != nil {
		return "ip-" + strings.ReplaceAll(words[0], ".", "-") + ".internal", ip
	}
	name := strings.TrimSuffix(words[0], ".")
	if !isHostName(name) || nameless(name) {
		return "", ""
	}
	if !strings.Contains(name, ".") {
		name += ".internal"
	}
	return name, ip
}

// hosts puts the block into /etc/hosts in place of an older one; an empty block
// removes it.
func (a *Agent) hosts(block string) ([]string, error) {
	path := a.path(hostsFile)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil // somebody else makes this file
	}
	if err != nil {
		return nil, err
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	want := withoutBlock(have)
	if block != "" && len(want) > 0 && want[len(want)-1] != '\n' {
		want = append(want, '\n')
	}
	want = append(want, block...)
	if bytes.Equal(have, want) {
		return nil, nil
	}
	return []string{hostsFile}, atomicfile.Write(path, want, info.Mode().Perm())
}

func withoutBlock(text []byte) []byte {
	var out []byte
	inside := false
	for line := range bytes.Lines(text) {
		switch strings.TrimSpace(string(line)) {
		case hostsBegin:
			inside = true
			continue
		case hostsEnd:
			inside = false
			continue
		}
		if !inside {
			out = append(out, line...)
		}
	}
	return out
}

// proxy writes the settings for login shells, or removes them when the launch
// has none. A file that somebody else wrote stays.
func (a *Agent) proxy(s userdata.Settings) ([]string, error) {
	path := a.path(proxyFile)
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ours := err == nil && bytes.HasPrefix(have, []byte(proxyMark))
	if err == nil && !ours {
		return nil, nil
	}
	if s.HTTPProxy == "" {
		if !ours {
			return nil, nil
		}
		return []string{proxyFile + " removed"}, os.Remove(path)
	}
	want, mode := proxySettings(s)
	if bytes.Equal(have, want) {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return []string{proxyFile}, atomicfile.WriteLazily(path, want, mode) // compared, and so repaired, at each boot
}

// proxySettings renders the file. With a password in it only root reads it.
func proxySettings(s userdata.Settings) ([]byte, fs.FileMode) {
	proxy, mode := s.HTTPProxy, fs.FileMode(0o644)
	if strings.Contains(proxy, "@") {
		mode = 0o600
	}
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	// Metadata must never go through a proxy.
	noProxy := "169.254.169.254"
	if s.NoProxy != "" {
		noProxy += "," + s.NoProxy
	}
	var b strings.Builder
	b.WriteString(proxyMark + "\n")
	for _, v := range []struct{ name, value string }{{"http_proxy", proxy}, {"https_proxy", proxy}, {"no_proxy", noProxy}} {
		quoted := "'" + strings.ReplaceAll(v.value, "'", `'\''`) + "'"
		fmt.Fprintf(&b, "export %s=%s\nexport %s=%s\n", v.name, quoted, strings.ToUpper(v.name), quoted)
	}
	return []byte(b.String()), mode
}
