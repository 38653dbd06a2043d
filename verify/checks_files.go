// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// fileChecks are about what lies around.
func fileChecks() []*Check {
	return []*Check{
		{
			ID: "fs-hidden-volumes", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "no snapshots, container stores or disk images, whose content nobody has looked at",
			Remedy: "delete them, or waive them with their reason",
			rules: []rule{
				on(filled, "/var/lib/docker/*/**", "/var/lib/containers/**", "/var/lib/containerd/**", "/var/lib/libvirt/images/*", "/var/lib/snapd/snapshots/*", "*.qcow2"),
				on(bigImage, "*.img", "*.iso", "*.vmdk", "*.vdi"),
				on(anything, "/.snapshots/*"),
			},
		},
		{
			ID: "fs-modes", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "/tmp has mode 1777, nothing else can be written by everybody, secrets can be read by root alone, and every file has an owner that exists",
			Remedy: "correct the mode or the owner",
			rules:  []rule{on(modes, "/**")},
		},
		{
			ID: "fs-leftovers", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "nothing is left of the build, of editors and of installers",
			Remedy: "delete it, or waive it with its reason",
			rules: []rule{
				on(leftover, "/tmp/**", "/var/tmp/**", "/mnt/*", "/media/*/*", "/lost+found/*", "/run/*", "/dev/shm/*"),
				on(filled, "/dev/*"),
				on(litter, "/root/**", "/home/**", "/etc/**", "/opt/**", "/srv/**"),
				on(filled, "~/.cache/**", "~/.gem/**", "~/.gemrc", "~/.ansible/**", "~/.local/share/Trash/**", "/var/lib/mlocate/mlocate.db", "/var/lib/plocate/plocate.db"),
			},
		},
		{
			ID: "fs-logs-mail", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "logs are empty; there is no rotated log, no journal and no mail",
			Remedy: "empty the log, delete the rotated one",
			rules: []rule{
				on(log, "/var/log/**", "/var/account/pacct"),
				on(filled, "/var/lib/rsyslog/imjournal.state", "/var/lib/logrotate/status", "/var/lib/logrotate/logrotate.status", "/var/lib/logrotate.status",
					"/var/mail/*", "/var/spool/mail/*", "/var/spool/postfix/*/**", "/var/spool/exim4/input/*", "/var/spool/exim4/msglog/*", "/var/spool/mqueue/*"),
			},
		},
		{
			ID: "fs-installer-leftovers", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no answers given to an installer, which can hold password hashes",
			Remedy: "delete the file",
			rules: []rule{on(filled, "/root/anaconda-ks.cfg", "/root/original-ks.cfg", "/root/initial-setup-ks.cfg", "/root/install.log*", "/var/log/anaconda/**", "/var/log/installer/**",
				"/etc/cloud/cloud.cfg.d/99-installer.cfg", "/etc/cloud/cloud.cfg.d/90-installer-network.cfg", "/etc/cloud/cloud.cfg.d/*subiquity*", "/preseed.cfg", "/root/autoinst.xml", "/var/adm/autoinstall/**")},
		},
		{
			ID: "fs-crash-dumps", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no dumps of crashed programs, which hold their memory",
			Remedy: "delete the dump",
			rules: []rule{
				on(filled, "/var/crash/**", "/var/log/dump/**", "/var/spool/abrt/**", "/var/lib/systemd/coredump/*", "/var/lib/apport/coredump/*", "/opt/rightscale/crash/*", "hs_err_pid*.log", "*.hprof"),
				on(coreDump, "core", "core.[0-9]*", "vmcore*"),
			},
		},
		{
			ID: "fs-vcs-trees", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "no working copies of version control",
			Remedy: "delete the .git, .svn or .hg directory, or waive it with its reason",
			rules: []rule{
				on(directory, "/root/**/.git", "/home/**/.git", "/opt/**/.git", "/srv/**/.git", "/var/www/**/.git", "/usr/local/**/.git", "/root/**/.svn", "/home/**/.svn",
					"/opt/**/.svn", "/srv/**/.svn", "/var/www/**/.svn", "/root/**/.hg", "/home/**/.hg", "/opt/**/.hg", "/srv/**/.hg", "/etc/*/.git"),
				on(etckeeper, "/etc/.git", "/etc/.hg", "/etc/.bzr"),
			},
		},
		{
			ID: "fs-selinux-labels", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "where SELinux enforces, files have labels, or a relabelling is scheduled",
			Remedy: "create /.autorelabel, which costs one more reboot at the first start",
			whole:  selinux,
		},
	}
}

func bigImage(x *file) {
	if _, ok := x.owners().of(x.Path); x.Regular() && x.Size >= 1<<20 && !ok && !below(x.Path, "/boot", "/usr/share", "/usr/lib", "/lib") {
		x.found("a disk image of %d MiB", x.Size>>20)
	}
}

// modes judges mode and owner of everything.
func modes(x *file) {
	if x.Mode&fs.ModeSymlink != 0 {
		return
	}
	perm := x.Mode.Perm()
	sticky := x.Mode&fs.ModeSticky != 0
	switch {
	case x.Path == "/tmp" || x.Path == "/var/tmp":
		if perm != 0o777 || !sticky {
			x.found("mode %s instead of 1777", x.Mode)
		}
	case (x.Path == "/etc/shadow" || x.Path == "/etc/gshadow") && perm&^0o640 != 0:
		x.found("mode %04o; at most 0640", perm)
	case x.Path == "/etc/resolv.conf" && perm&0o022 != 0:
		x.found("mode %04o instead of 0644", perm)
	case perm&0o002 != 0 && x.Mode.IsDir() && !sticky && !below(x.Path, "/dev", "/proc", "/sys"):
		x.found("everybody may write and delete here")
	case perm&0o002 != 0 && x.Regular() && !below(x.Path, "/dev", "/proc", "/sys"):
		x.found("everybody may write this file")
	case x.Mode.IsDir() && perm&0o022 != 0 && (x.Path == "/root" || path.Base(x.Path) == ".ssh"):
		x.found("others may write here: mode %04o", perm)
	}
	if len(x.users) > 0 && !below(x.Path, "/dev", "/proc", "/sys") && !x.knownID(x.UID, x.GID) {
		x.found("belongs to %d:%d, who does not exist", x.UID, x.GID)
	}
}

func (im *image) knownID(uid, gid uint32) bool {
	user, group := uid == 0, gid == 0
	for i := range im.users {
		if uint32(im.users[i].uid) == uid {
			user = true
			break
		}
	}
	for i := range im.groups {
		if uint32(im.groups[i].gid) == gid {
			group = true
			break
		}
	}
	return user && group
}

// leftover judges trees that are empty on a clean image.
func leftover(x *file) {
	switch {
	case x.Path == "/run/lock" || x.Mode&fs.ModeSocket != 0:
	case below(x.Path, "/run") && x.Mode.IsDir():
	case x.Mode.IsDir() && strings.HasPrefix(path.Base(x.Path), "."):
		if !strings.HasSuffix(x.Path, "-unix") {
			x.found("a directory")
		}
	case x.Mode.IsDir():
		if !strings.HasPrefix(path.Base(x.Path), "systemd-private-") {
			x.found("a directory")
		}
	case path.Base(x.Path) == "policy-rc.d":
	default:
		x.found("%d bytes", x.Size)
	}
}

var litterNames = regexp.MustCompile(`(~|\.(bak|swp|swo|orig|rpmsave|rpmnew|dpkg-old|dpkg-dist|dpkg-bak|ucf-old|deb|rpm))$|\.(backup|tar)\b|\.chef|^packer-|^script_.*\.sh$|^chpasswd$`)

// litter judges names in places of configuration and of users. The packages of
// the agent are there to be installed on first boot, and have a check of their own.
func litter(x *file) {
	if !x.Regular() || below(x.Path, "/root/.rightscale") || !litterNames.MatchString(path.Base(x.Path)) {
		return
	}
	if _, ok := x.owners().of(x.Path); !ok {
		x.found("%d bytes", x.Size)
	}
}

// log judges logs. What the kernel keeps sparse is measured by what it takes.
func log(x *file) {
	name := path.Base(x.Path)
	switch {
	case !x.Regular() || x.Size == 0:
	case below(x.Path, "/var/log/installer", "/var/log/anaconda", "/var/log/dump"):
	case name == "lastlog" && x.Allocated == 0:
	case name == "README" || name == ".gitkeep":
	default:
		x.found("%d bytes", x.Size)
	}
}

// coreDump takes dumps by their content: other things are named core as well.
func coreDump(x *file) {
	if !x.Regular() || x.Size < 64 {
		return
	}
	if f, err := x.Open(); err == nil {
		if IsDump(f) {
			x.found("a dump of memory")
		}
		_ = f.Close() // only read
	}
}

// IsDump reports whether a file is a dump of a program or of a kernel.
func IsDump(r io.Reader) bool {
	head := make([]byte, 20)
	if _, err := io.ReadFull(r, head); err != nil {
		return false
	}
	const elfCore = 4
	text := string(head)
	return strings.HasPrefix(text, "\x7fELF") && (head[16] == elfCore || head[17] == elfCore && head[5] == 2) ||
		strings.HasPrefix(text, "KDUMP") || strings.HasPrefix(text, "DISKDUMP")
}

func etckeeper(x *file) {
	if x.Mode.IsDir() {
		x.level(Blocker, "the history of /etc, old password hashes included")
	}
}

func selinux(x *probe) {
	enforcing := false
	for _, l := range x.lines("/etc/selinux/config") {
		if k, v := l.setting(); strings.EqualFold(k, "SELINUX") && strings.EqualFold(v, "enforcing") {
			enforcing = true
		}
	}
	if !enforcing || x.Exists("/.autorelabel") {
		return
	}
	for _, p := range []string{"/etc/passwd", "/etc/shadow", "/etc/ssh/sshd_config", "/etc/machine-id", "/etc/hostname", "/etc/hosts"} {
		if x.Exists(p) && !x.labelled(p) {
			x.at(p, "has no SELinux label, and no relabelling is scheduled")
		}
	}
}
