// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"regexp"
	"strings"
	"sync"
)

// release is what the release files say, before it is put into anybody's
// vocabulary.
type release struct {
	id       string
	idLike   []string
	version  string // with the point release, if a file tells it
	major    string // VERSION_ID, or the nearest equivalent
	codename string
	pretty   string
}

// readRelease asks os-release, then the older files, which are also asked for
// the point release that os-release leaves out.
func readRelease(t tree) release {
	osRelease := t.text("etc/os-release")
	if osRelease == "" {
		osRelease = t.text("usr/lib/os-release")
	}
	r := fromOSRelease(parseOSRelease(osRelease))
	if r.id == "" {
		r = legacy(t)
	}
	lsb := parseOSRelease(t.text("etc/lsb-release"))
	if r.id == "" && lsb["DISTRIB_ID"] != "" {
		r = fromLSB(lsb)
	}
	if r.codename == "" && strings.EqualFold(lsb["DISTRIB_ID"], r.id) {
		r.codename = lsb["DISTRIB_CODENAME"]
	}
	r.refine(t)
	if r.version == "" {
		r.version = r.major
	}
	return r
}

func fromOSRelease(v map[string]string) release {
	r := release{
		id: strings.ToLower(v["ID"]), idLike: strings.Fields(strings.ToLower(v["ID_LIKE"])),
		major: v["VERSION_ID"], codename: v["VERSION_CODENAME"], pretty: v["PRETTY_NAME"],
	}
	if r.codename == "" {
		r.codename = v["UBUNTU_CODENAME"]
	}
	if r.codename == "" { // Debian 8: VERSION="8 (jessie)"
		if m := regexp.MustCompile(`\(([a-z]+)\)$`).FindStringSubmatch(v["VERSION"]); m != nil {
			r.codename = m[1]
		}
	}
	return r
}

func fromLSB(v map[string]string) release {
	id := strings.ToLower(strings.ReplaceAll(v["DISTRIB_ID"], " ", ""))
	return release{id: id, major: v["DISTRIB_RELEASE"], codename: v["DISTRIB_CODENAME"], pretty: v["DISTRIB_DESCRIPTION"]}
}

// releaseLine is "CentOS release 6.5 (Final)", "Fedora release 18 (Spherical Cow)".
var releaseLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(.+?)\s+release\s+([0-9][0-9.]*)\s*(?:.*\(([^)]*)\))?`)
})

// legacy reads the files from before os-release. The order matters: a CentOS
// has a redhat-release too, and an Oracle Linux has a redhat-release that says
// Red Hat.
func legacy(t tree) release {
	for _, f := range []struct{ file, id string }{
		{"etc/oracle-release", "ol"}, {"etc/enterprise-release", "ol"}, {"etc/centos-release", "centos"}, {"etc/fedora-release", "fedora"},
		{"etc/redhat-release", ""}, {"etc/system-release", ""},
	} {
		text := t.line(f.file)
		m := releaseLine().FindStringSubmatch(text)
		if m == nil {
			continue
		}
		id := f.id
		if id == "" {
			id = idOf(m[1])
		}
		return release{id: id, major: m[2], version: m[2], codename: m[3], pretty: text}
	}
	if text := t.text("etc/SuSE-release"); text != "" {
		return suseRelease(text)
	}
	if v := t.line("etc/alpine-release"); v != "" {
		return release{id: "alpine", major: v, pretty: "Alpine Linux " + v}
	}
	// Ubuntu has a debian_version too: its lsb-release goes first.
	if strings.Contains(t.text("etc/lsb-release"), "DISTRIB_ID=Ubuntu") {
		return release{}
	}
	if v := t.line("etc/debian_version"); v != "" {
		return release{id: "debian", major: v, pretty: "Debian GNU/Linux " + v}
	}
	if t.exists("etc/arch-release") {
		return release{id: "arch", pretty: "Arch Linux"}
	}
	return release{}
}

// idOf maps the name in a release line to an os-release ID.
func idOf(name string) string {
	name = strings.ToLower(name)
	for _, n := range []struct{ prefix, id string }{
		{"centos", "centos"}, {"red hat", "rhel"}, {"fedora", "fedora"}, {"oracle", "ol"}, {"enterprise linux enterprise", "ol"},
		{"amazon", "amzn"}, {"scientific", "scientific"}, {"rocky", "rocky"}, {"almalinux", "almalinux"},
	} {
		if strings.HasPrefix(name, n.prefix) {
			return n.id
		}
	}
	return ""
}

// suseRelease reads a title line, "VERSION = 11" and "PATCHLEVEL = 3".
func suseRelease(text string) release {
	title, rest, _ := strings.Cut(text, "\n")
	r := release{id: "sles", pretty: strings.TrimSpace(title)}
	if strings.Contains(strings.ToLower(title), "opensuse") {
		r.id = "opensuse"
	}
	var patch string
	for l := range strings.Lines(rest) {
		key, value, _ := strings.Cut(l, "=")
		switch strings.TrimSpace(key) {
		case "VERSION":
			r.major = strings.TrimSpace(value)
		case "PATCHLEVEL":
			patch = strings.TrimSpace(value)
		case "CODENAME":
			r.codename = strings.TrimSpace(value)
		}
	}
	if r.version = r.major; patch != "" && patch != "0" {
		r.version += "." + patch
	}
	return r
}

// refine takes the point release from the file of the distribution.
func (r *release) refine(t tree) {
	switch r.id {
	case "debian":
		v := t.line("etc/debian_version")
		switch name, _, isName := strings.Cut(v, "/"); {
		case v != "" && v[0] >= '0' && v[0] <= '9':
			r.version = v
			if r.major == "" {
				r.major = v
			}
		case isName && r.codename == "": // "trixie/sid" before a release
			r.codename = name
			if r.major == v {
				r.major = ""
			}
		}
	case "centos":
		if m := releaseLine().FindStringSubmatch(t.line("etc/centos-release")); m != nil {
			r.version = m[2]
		}
	}
}
