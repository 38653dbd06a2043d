// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// accountChecks are about who can log in.
func accountChecks() []*Check {
	return []*Check{
		{
			ID: "acc-blank-password", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no account or group has an empty password",
			Remedy: "lock the account: passwd --lock NAME",
			whole:  blankPasswords,
		},
		{
			ID: "acc-root-locked", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "root's password is locked, and no hash is left behind the lock",
			Remedy: "set root's field in /etc/shadow to !",
			whole:  rootLocked,
		},
		{
			ID: "acc-password-hash", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no account has a password hash",
			Remedy: "lock the account and drop the hash",
			whole:  passwordHashes,
		},
		{
			ID: "acc-shadow-backups", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no backups of the user database, which keep old hashes",
			Remedy: "delete them after the last change of an account",
			rules: []rule{on(filled, "/etc/shadow-", "/etc/gshadow-", "/etc/passwd-", "/etc/group-", "/etc/subuid-", "/etc/subgid-", "/etc/shadow.*", "/etc/gshadow.*",
				"/var/backups/*shadow*", "/var/backups/*passwd*", "/etc/.pwd.lock.*")},
		},
		{
			ID: "acc-unknown-users", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "only root, system accounts and the default user; no second account of user id 0; no stranger in an administrative group",
			Remedy: "remove the account with its home, or declare it (--user)",
			whole:  unknownUsers,
		},
		{
			ID: "acc-sudoers", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "sudo's rules are for the default user and the distribution's groups; their files have mode 0440",
			Remedy: "delete the drop-in",
			rules: []rule{on(sudoers, "/etc/sudoers", "/etc/sudoers.d/*"),
				on(unownedFilled, "/etc/polkit-1/rules.d/*")},
		},
		{
			ID: "acc-setuid", Class: Disk, Severity: Warning,
			Pass:   "every setuid or setgid file and every file with capabilities comes from a package; sudo is setuid root",
			Remedy: "remove the bit, or install the program from a package",
			rules:  []rule{on(setuid, "/**")},
		},
		{
			ID: "acc-autologin-debug", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "nobody is logged in without a password: no autologin, no debug shell, no shell as init",
			Remedy: "delete the drop-in, disable the unit, or take the argument out of the boot loader's configuration",
			rules: []rule{
				on(containing(`--autologin|-a root|ExecStart=.*/(ba|da|)sh\s*$`), "/etc/systemd/system/*getty*/*", "/etc/systemd/system/*getty*.service", "/etc/inittab",
					"/etc/systemd/system/serial-getty*/*", "/etc/systemd/system/emergency.service.d/*", "/etc/systemd/system/rescue.service.d/*"),
				on(containing(`SYSTEMD_SULOGIN_FORCE=1`), "/etc/systemd/system/emergency.service.d/*", "/etc/systemd/system/rescue.service.d/*", "/etc/systemd/system.conf.d/*"),
				on(containing(`(?i)^(AutomaticLoginEnable\s*=\s*true|autologin-user\s*=\s*\S|User\s*=\s*\S)`), "/etc/gdm*/*.conf", "/etc/lightdm/lightdm.conf", "/etc/lightdm/lightdm.conf.d/*", "/etc/sddm.conf", "/etc/sddm.conf.d/*"),
				on(containing(`:(respawn|once):/bin/(ba|da|)sh`), "/etc/inittab"),
			},
			whole: debugShells,
		},
		{
			ID: "acc-phone-home", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "no jobs of users, no jobs and units that no package has brought, no forwarding of logs or mail",
			Remedy: "delete the job, or waive it with its reason",
			rules: []rule{
				on(hasLines, "/var/spool/cron/**", "/var/spool/at/*", "/etc/rc.local", "/etc/rc.d/rc.local"),
				on(unownedJob, "/etc/cron.d/*", "/etc/cron.hourly/*", "/etc/cron.daily/*", "/etc/cron.weekly/*", "/etc/cron.monthly/*"),
				on(unownedUnit, "/etc/systemd/system/*.service", "/etc/systemd/system/*.timer"),
				on(containing(`(?i)(^|\s)@@?[a-z0-9\[]|type="?omfwd|^\s*remote_server|^URL=`), "/etc/rsyslog.conf", "/etc/rsyslog.d/*.conf", "/etc/audisp/audisp-remote.conf", "/etc/audit/audisp-remote.conf", "/etc/systemd/journal-upload.conf"),
				on(containing(`^[a-z.-]+:.*[^\s,]@[a-z0-9.-]+`), "/etc/aliases"),
				on(hasLines, "~/.forward"),
			},
		},
	}
}

func blankPasswords(x *probe) {
	for _, u := range x.users {
		if u.field == "" {
			x.as(x.Severity, "/etc/passwd", u.line, "%s has an empty password", u.name)
		}
	}
	x.fields("/etc/shadow", 2, func(n int, f []string) {
		if f[1] == "" {
			x.as(x.Severity, "/etc/shadow", n, "%s has an empty password", f[0])
		}
	})
	x.fields("/etc/gshadow", 2, func(n int, f []string) {
		if f[1] == "" {
			x.as(x.Severity, "/etc/gshadow", n, "the group %s has an empty password", f[0])
		}
	})
}

// hashed reports whether a field holds a hash, behind a lock or not.
func hashed(field string) (is, locked bool) {
	bare := strings.TrimLeft(field, "!*")
	locked = bare != field
	if strings.HasPrefix(bare, "$") && strings.Count(bare, "$") >= 2 {
		return true, locked
	}
	return regexp.MustCompile(`^[./0-9A-Za-z]{13}$`).MatchString(bare), locked
}

func rootLocked(x *probe) {
	u, ok := x.user("root")
	if !ok {
		return
	}
	field, where, number := u.hash, "/etc/shadow", u.shadowLine
	if !u.inShadow {
		field, where, number = u.field, "/etc/passwd", u.line
	}
	is, locked := hashed(field)
	switch {
	case is && locked:
		x.as(x.Severity, where, number, "root is locked, but its password hash is still there")
	case is || !strings.HasPrefix(field, "!") && !strings.HasPrefix(field, "*"):
		x.as(x.Severity, where, number, "root's password is not locked")
	}
}

func passwordHashes(x *probe) {
	for _, u := range x.users {
		if u.name == "root" {
			continue
		}
		field, where, number := u.hash, "/etc/shadow", u.shadowLine
		if is, _ := hashed(u.field); is {
			field, where, number = u.field, "/etc/passwd", u.line
		}
		switch is, locked := hashed(field); {
		case is && locked:
			x.as(x.Severity, where, number, "%s is locked, but its password hash is still there", u.name)
		case is:
			x.as(x.Severity, where, number, "%s has a password", u.name)
		}
	}
}

// builders are accounts that build tools make.
func builders() []string {
	return []string{"packer", "vagrant", "ansible", "terraform", "rightscale", "rightlink", "builder", "installer"}
}

// adminGroups give what root has.
func adminGroups() []string {
	return []string{"wheel", "sudo", "admin", "adm", "docker", "lxd", "disk"}
}

// cloudUsers are the default users that distributions have.
func cloudUsers() []string {
	return []string{"ec2-user", "ubuntu", "admin", "debian", "fedora", "centos", "rocky", "almalinux", "cloud-user", "alpine", "arch", "opensuse", "bitnami"}
}

// expected reports whether an account is meant to be there.
func (x *probe) expected(name string) bool {
	return slices.Contains(x.cloudUser, name) || len(x.cloudUser) == 0 && slices.Contains(cloudUsers(), name)
}

func unknownUsers(x *probe) {
	least := 1000
	for _, l := range x.lines("/etc/login.defs") {
		if l.text = strings.Join(l.words(), " "); strings.HasPrefix(l.text, "UID_MIN ") {
			if n := atoi(strings.TrimPrefix(l.text, "UID_MIN ")); n > 0 {
				least = n
			}
		}
	}
	for _, u := range x.users {
		switch {
		case u.uid == 0 && u.name != "root":
			x.as(x.Severity, "/etc/passwd", u.line, "%s is a second root", u.name)
		case x.expected(u.name) || u.name == "root":
		case slices.Contains(builders(), u.name):
			x.as(x.Severity, "/etc/passwd", u.line, "the account %s of a build tool", u.name)
		case u.uid >= least && u.uid < 65534 && u.uid < 60000:
			x.as(x.Severity, "/etc/passwd", u.line, "the account %s", u.name)
		case u.uid < least && u.canLogin() && strings.Contains(u.shell, "sh") && u.inShadow && u.hash != "" && !strings.ContainsAny(u.hash[:1], "!*"):
			x.as(x.Severity, "/etc/passwd", u.line, "the system account %s can log in", u.name)
		}
	}
	for _, g := range x.groups {
		for _, m := range g.members {
			_, exists := x.user(m)
			if slices.Contains(adminGroups(), g.name) && !x.expected(m) && m != "root" && (!exists || !systemMember(g.name, m)) {
				x.at("/etc/group", "%s is in the group %s", m, g.name)
			}
		}
	}
	for _, name := range x.ReadDir("/home") {
		home := "/home/" + name
		owned := slices.ContainsFunc(x.users, func(u user) bool { return u.home == home })
		if info, err := x.Lstat(home); err == nil && info.IsDir() && !owned && name != "lost+found" && !x.expected(name) {
			x.at(home, "a home without an account")
		}
	}
}

// systemMember knows members of adm and disk that distributions put there.
func systemMember(group, name string) bool {
	switch group {
	case "adm":
		return slices.Contains([]string{"syslog", "daemon", "logcheck"}, name)
	case "wheel", "disk":
		return slices.Contains([]string{"root", "adm"}, name) && (group == "disk" || name == "root")
	}
	return false
}

func atoi(s string) int {
	n := 0
	for _, c := range strings.TrimSpace(s) {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// sudoers judges a file of rules.
func sudoers(x *file) {
	if !x.Regular() || path.Base(x.Path) == "README" || strings.HasSuffix(x.Path, "~") {
		return
	}
	if mode := x.Mode.Perm(); mode&0o337 != 0 {
		x.found("mode %04o instead of 0440", mode)
	}
	if path.Base(x.Path) == "90-cloud-init-users" {
		x.found("was written by cloud-init on the build machine")
		return
	}
	for _, l := range x.lines(x.Path) {
		words := l.words()
		if len(words) < 2 || !strings.Contains(l.text, "=") || strings.HasPrefix(words[0], "Defaults") || strings.HasSuffix(words[0], "_Alias") || strings.HasPrefix(words[0], "@") {
			continue
		}
		x.sudoRule(l, words[0])
	}
}

func (x *file) sudoRule(l line, who string) {
	free := strings.Contains(l.text, "NOPASSWD")
	if name, is := strings.CutPrefix(who, "%"); is {
		if !slices.Contains([]string{"sudo", "wheel", "admin", "root"}, name) {
			x.line(l, "a rule for the group %s", name)
		}
		return
	}
	if who == "root" || x.expected(who) {
		return
	}
	if _, exists := x.user(who); !exists && who != "ALL" {
		if free {
			x.as(Blocker, l.path, l.number, "%s does not exist and needs no password: whoever gets the name is root", who)
			return
		}
		x.line(l, "a rule for %s, who does not exist", who)
		return
	}
	x.line(l, "a rule for %s", who)
}

func debugShells(x *probe) {
	if x.units().enabled("debug-shell") {
		x.at("/etc/systemd/system", "debug-shell.service is enabled")
	}
	for _, l := range x.kernelCommandLines() {
		for _, w := range l.words() {
			switch {
			case w == "systemd.debug_shell", w == "systemd.debug_shell=1", w == "rd.break", w == "rd.shell=1", strings.HasPrefix(w, "init=/bin/"), strings.HasPrefix(w, "init=/usr/bin/"),
				(w == "single" || w == "emergency") && !strings.Contains(strings.ToLower(l.text), "recovery") && !strings.HasSuffix(l.path, "grub.cfg"):
				x.line(l, "the kernel is given %s", w)
			}
		}
	}
}

func unownedJob(x *file) {
	if _, ok := x.owners().of(x.Path); x.Regular() && x.owners().known() && !ok && path.Base(x.Path) != ".placeholder" && !ours(x.image, x.Path) {
		x.found("a job that no package has brought")
	}
}

func unownedUnit(x *file) {
	if _, ok := x.owners().of(x.Path); x.Regular() && x.owners().known() && !ok && !ours(x.image, x.Path) && x.units().enabled(path.Base(x.Path)) {
		x.found("a unit that is enabled and that no package has brought")
	}
}

// ours reports whether a file is one of the hooks that this project puts into
// images: it starts programs below /opt/rightscale only.
func ours(im *image, p string) bool {
	text := im.Text(p)
	if !strings.HasPrefix(path.Base(p), "right") || !strings.Contains(text, "/opt/rightscale/bin/") {
		return false
	}
	for _, l := range parseLines(p, text) {
		if key, value := l.setting(); strings.HasPrefix(key, "Exec") && !strings.HasPrefix(strings.TrimLeft(value, "-+!@"), "/opt/rightscale/bin/") {
			return false
		}
	}
	return true
}

// setuid judges every file with special bits or capabilities.
func setuid(x *file) {
	if x.Path == "/usr/bin/sudo" && x.Regular() && (x.Mode&fs.ModeSetuid == 0 || x.UID != 0) {
		x.found("sudo is not setuid root")
	}
	if !x.Regular() || x.Mode&(fs.ModeSetuid|fs.ModeSetgid) == 0 {
		return
	}
	if below(x.Path, "/home", "/tmp", "/opt", "/srv", "/var/tmp", "/root") {
		x.found("%s", x.Mode)
		return
	}
	if !x.owners().known() {
		return
	}
	if _, ok := x.owners().of(x.Path); !ok {
		x.found("%s, and no package has brought it", x.Mode)
	}
}

// capable judges a file with capabilities, which are as good as setuid.
func (x *file) capable() {
	if _, ok := x.owners().of(x.Path); !ok && x.owners().known() {
		x.found("has capabilities, and no package has brought it")
	}
}
