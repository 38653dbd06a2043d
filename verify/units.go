// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"strings"
)

// units are the services of an image and whether they start at boot, whatever
// init the image has.
type units struct {
	im     *image
	wanted map[string]string // unit, by the link that wants it
}

func readUnits(im *image) *units {
	u := &units{im: im, wanted: map[string]string{}}
	for _, dir := range []string{"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"} {
		for _, p := range im.Glob(dir+"/*.wants/*", dir+"/*.requires/*") {
			u.wanted[path.Base(p)] = p
		}
	}
	return u
}

// file returns the unit file that counts, "" when there is none or it is masked.
func (u *units) file(name string) string {
	if at := strings.IndexByte(name, '@'); at > 0 {
		if p := u.own(name); p != "" {
			return p
		}
		name = name[:at+1] + name[strings.LastIndexByte(name, '.'):]
	}
	return u.own(name)
}

func (u *units) own(name string) string {
	for _, dir := range []string{"/etc/systemd/system/", "/run/systemd/system/", "/usr/local/lib/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		p := dir + name
		if _, err := u.im.Lstat(p); err != nil {
			continue
		}
		if u.masked(p) {
			return ""
		}
		if u.im.Exists(p) {
			return p
		}
	}
	return ""
}

// masked reports whether a unit file is a link to nothing.
func (u *units) masked(p string) bool {
	to, err := u.im.Readlink(p)
	return err == nil && path.Clean(to) == "/dev/null"
}

// enabled reports whether one of the services starts at boot.
func (u *units) enabled(names ...string) bool {
	for _, name := range names {
		for _, unit := range []string{name, name + ".service", name + ".socket", name + ".timer", name + ".target"} {
			if _, ok := u.wanted[unit]; ok && u.file(unit) != "" {
				return true
			}
		}
		if strings.Contains(name, ".") {
			continue
		}
		if u.im.has("/etc/runlevels/boot/"+name, "/etc/runlevels/default/"+name, "/etc/runlevels/sysinit/"+name) ||
			len(u.im.Glob("/etc/rc[S2345].d/S[0-9][0-9]"+name, "/etc/rc.d/rc[2345].d/S[0-9][0-9]"+name)) > 0 {
			return true
		}
	}
	return false
}

// systemd reports whether the image boots with it.
func (u *units) systemd() bool {
	real, err := u.im.Resolve("/sbin/init")
	return err == nil && strings.Contains(real, "systemd")
}
