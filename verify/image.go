// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// image is what the checks know of an image before they look.
type image struct {
	*tree.Tree
	release map[string]string // os-release
	users   []user
	groups  []group
	homes   []string
	// cloudUser is the default user of cloud-init and of bootstrap, which may not
	// exist before the first boot.
	cloudUser []string
	owners    func() *owners // of files, by the package database
	units     func() *units
	sshd      func() *sshd
}

// user is a line of passwd with the password field of shadow.
type user struct {
	name, field, home, shell string
	uid, gid                 int
	line                     int
	hash                     string // field 2 of shadow
	inShadow                 bool
	shadowLine               int
}

type group struct {
	name    string
	gid     int
	members []string
}

func newImage(t *tree.Tree, o Options) *image {
	im := &image{Tree: t, release: map[string]string{}}
	text := t.Text("/etc/os-release")
	if text == "" {
		text = t.Text("/usr/lib/os-release")
	}
	for l := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(l), "=")
		im.release[name] = strings.Trim(value, `"'`)
	}
	im.readUsers()
	im.readGroups()
	im.findHomes()
	im.findCloudUser(o.Users)
	im.owners = sync.OnceValue(func() *owners { return readOwners(t) })
	im.units = sync.OnceValue(func() *units { return readUnits(im) })
	im.sshd = sync.OnceValue(func() *sshd { return readSSHD(im) })
	return im
}

// fields splits the lines of a file of the user database.
func (im *image) fields(p string, least int, each func(number int, fields []string)) {
	n := 0
	for l := range strings.Lines(im.Text(p)) {
		n++
		f := strings.Split(strings.TrimRight(l, "\r\n"), ":")
		if len(f) >= least && f[0] != "" && f[0][0] != '#' && f[0][0] != '+' && f[0][0] != '-' {
			each(n, f)
		}
	}
}

func (im *image) readUsers() {
	im.fields("/etc/passwd", 7, func(n int, f []string) {
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err1 == nil && err2 == nil {
			im.users = append(im.users, user{name: f[0], field: f[1], uid: uid, gid: gid, home: f[5], shell: f[6], line: n})
		}
	})
	im.fields("/etc/shadow", 2, func(n int, f []string) {
		for i := range im.users {
			if u := &im.users[i]; u.name == f[0] {
				u.hash, u.inShadow, u.shadowLine = f[1], true, n
			}
		}
	})
}

func (im *image) readGroups() {
	im.fields("/etc/group", 4, func(_ int, f []string) {
		gid, err := strconv.Atoi(f[2])
		if err != nil {
			return
		}
		g := group{name: f[0], gid: gid}
		for _, m := range strings.Split(f[3], ",") {
			if m != "" {
				g.members = append(g.members, m)
			}
		}
		im.groups = append(im.groups, g)
	})
}

// findHomes lists root's home, those of the accounts, and every directory under
// /home. System directories that serve as homes are left out: their content has
// checks of its own.
func (im *image) findHomes() {
	add := func(p string) {
		if p = path.Clean("/" + p); p == "/" || slices.Contains(im.homes, p) || below(p, "/bin", "/sbin", "/usr", "/dev", "/proc", "/sys", "/etc", "/boot", "/run", "/nonexistent") {
			return
		}
		if real, err := im.Resolve(p); err == nil && real != "/" && !slices.Contains(im.homes, real) {
			im.homes = append(im.homes, real)
		}
	}
	add("/root")
	for _, u := range im.users {
		switch u.home {
		case "/var", "/var/lib", "/var/log", "/var/run", "/var/cache", "/var/spool", "/tmp", "/home", "/srv", "/opt", "/var/mail", "/var/backups", "/var/spool/mail":
		default:
			add(u.home)
		}
	}
	for _, name := range im.ReadDir("/home") {
		add("/home/" + name)
	}
}

// findCloudUser reads who the default user is.
func (im *image) findCloudUser(declared []string) {
	im.cloudUser = append(im.cloudUser, declared...)
	if hint := strings.TrimSpace(im.Text("/etc/rightscale.d/login-user")); hint != "" {
		im.cloudUser = append(im.cloudUser, hint)
	}
	for _, p := range append([]string{"/etc/cloud/cloud.cfg"}, im.Glob("/etc/cloud/cloud.cfg.d/*.cfg")...) {
		lines := im.lines(p)
		for i, l := range lines {
			if l.text != "default_user:" {
				continue
			}
			for _, next := range lines[i+1 : min(len(lines), i+10)] {
				if name, value := next.setting(); name == "name" {
					im.cloudUser = append(im.cloudUser, value)
					break
				}
			}
		}
	}
}

// user returns the account of that name.
func (im *image) user(name string) (user, bool) {
	i := slices.IndexFunc(im.users, func(u user) bool { return u.name == name })
	if i < 0 {
		return user{}, false
	}
	return im.users[i], true
}

// canLogin reports whether a shell gives a session.
func (u user) canLogin() bool {
	switch path.Base(u.shell) {
	case "nologin", "false", "sync", "shutdown", "halt", "true", "git-shell":
		return false
	}
	return true
}

// has reports whether one of the paths leads to something.
func (im *image) has(paths ...string) bool { return slices.ContainsFunc(paths, im.Exists) }

// firstOf returns the first of the paths that leads to something.
func (im *image) firstOf(paths ...string) string {
	for _, p := range paths {
		if im.Exists(p) {
			return p
		}
	}
	return ""
}

// kernelCommandLines are the arguments of the kernel in every boot loader's
// configuration.
func (im *image) kernelCommandLines() []line {
	var out []line
	for _, p := range im.Glob("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/*/grub.cfg", "/boot/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf",
		"/efi/loader/entries/*.conf", "/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg", "/boot/grub/menu.lst", "/etc/kernel/cmdline") {
		for _, l := range im.lines(p) {
			key, rest := l.key()
			switch {
			case strings.HasPrefix(key, "linux") || key == "options" || key == "append" || key == "kernel":
				out = append(out, line{p, l.number, rest})
			case p == "/etc/kernel/cmdline":
				out = append(out, l)
			}
		}
	}
	return out
}

// words splits the kernel's arguments.
func (l line) words() []string { return strings.Fields(l.text) }

// Homes are the homes of an image: root's, those of the accounts, and every
// directory under /home.
func Homes(t *tree.Tree) []string {
	im := &image{Tree: t}
	im.readUsers()
	im.findHomes()
	return im.homes
}

// SSHPolicy tells what the SSH server of an image takes: the values of keys in
// lower case, as they count outside of Match blocks, and whether drop-ins are
// read before anything else.
func SSHPolicy(t *tree.Tree) (installed, includes bool, values map[string]string) {
	s := readSSHD(&image{Tree: t})
	values = map[string]string{}
	for _, d := range s.directives {
		if _, ok := values[d.key]; !ok && d.match == "" {
			values[d.key] = strings.ToLower(d.value)
		}
	}
	return s.installed, s.includes, values
}

// Owned reports whether a package has brought a file of the image; known is
// false when its package database cannot be read.
func Owned(t *tree.Tree) (of func(p string) (owned, known bool)) {
	o := readOwners(t)
	return func(p string) (bool, bool) {
		_, ok := o.of(p)
		return ok, o.known()
	}
}
