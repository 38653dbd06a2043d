// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"slices"
	"strings"
)

// diskChecks are about blocks, partitions and what is mounted from them. Package
// raw makes those of class Raw.
func diskChecks() []*Check {
	return []*Check{
		{
			ID: "fs-deleted-data", Class: Raw, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no block of the disk holds a secret of the build or a key, whether a file owns the block or not: deleted files, journals, gaps between partitions",
			Remedy: "remove the secret, then trim the free space (rightimage clean), or copy the files into a new file system",
		},
		{
			ID: "fs-swap-content", Class: Raw, Severity: Blocker, Public: true,
			Pass:   "swap areas hold their header alone, and no hibernation image",
			Remedy: "make the swap area anew over zeroes, with the same UUID",
		},
		{
			ID: "fs-encrypted", Class: Raw, Severity: Blocker, Public: true,
			Pass:   "no partition is encrypted: instances would share its key",
			Remedy: "use a plain partition; encrypt the volume in the cloud",
		},
		{
			ID: "fs-clean-state", Class: Raw, Severity: Blocker,
			Pass:   "every file system was unmounted cleanly",
			Remedy: "mount and unmount it, or check it with its own tool",
		},
		{
			ID: "fs-size-layout", Class: Raw, Severity: Blocker,
			Pass:   "the partition table is sound, its backup is in the last sector, partitions do not overlap, and the disk has whole GiB",
			Remedy: "extend the disk to whole GiB and move the backup of the table to its end",
		},
		{
			ID: "fs-swap-files", Class: Disk, Severity: Blocker, Public: true,
			Pass:   "no swap file holds anything but its header",
			Remedy: "make it anew: fallocate or dd from /dev/zero, mkswap",
			rules:  []rule{on(swapFile, "/swapfile", "/swap.img", "/var/swap", "/swap", "/*.swap")},
		},
		{
			ID: "fs-fstab-by-id", Class: Disk, Severity: Blocker,
			Pass:   "fstab, crypttab and the kernel name devices by UUID or label: EC2 names disks otherwise",
			Remedy: "replace the device by UUID=… of blkid",
			whole:  fstabByID,
		},
		{
			ID: "fs-fstab-sane", Class: Disk, Severity: Warning, Cleans: true,
			Pass:   "fstab and crontab end with a newline; no duplicates, no unknown types, no leftovers of cloud-init",
			Remedy: "correct the line; give a disk that may be missing the option nofail",
			whole:  fstabSane,
		},
		{
			ID: "fs-root-grow", Class: Disk, Severity: Warning,
			Pass:   "something grows the root file system on a larger volume",
			Remedy: "enable cloud-init's growpart, systemd-repart, or our own rightimage-early",
			whole:  rootGrows,
		},
	}
}

// mount is a line of fstab.
type mount struct {
	line
	source, target, kind, options string
}

func (x *probe) fstab() []mount {
	var out []mount
	for _, l := range x.lines("/etc/fstab") {
		w := l.words()
		for len(w) < 4 {
			w = append(w, "")
		}
		out = append(out, mount{l, w[0], w[1], w[2], w[3]})
	}
	return out
}

// byName reports whether a source is the name of a device, which another
// machine may not have.
func byName(source string) bool {
	return strings.HasPrefix(source, "/dev/") && !below(source, "/dev/disk/by-uuid", "/dev/disk/by-label", "/dev/disk/by-partuuid", "/dev/disk/by-partlabel", "/dev/disk/by-id", "/dev/mapper", "/dev/shm") ||
		strings.HasPrefix(source, "/dev/mapper/loop")
}

func fstabByID(x *probe) {
	for _, m := range x.fstab() {
		if byName(m.source) && !strings.Contains(m.options, "bind") && !x.volume(m.source) {
			x.line(m.line, "%s is mounted by the name %s", m.target, m.source)
		}
	}
	for _, l := range x.lines("/etc/crypttab") {
		if w := l.words(); len(w) >= 2 && byName(w[1]) {
			x.line(l, "the device %s", w[1])
		}
	}
	for _, p := range x.Glob("/etc/systemd/system/*.swap", "/etc/systemd/system/*.mount", "/etc/initramfs-tools/conf.d/resume") {
		for _, l := range x.lines(p) {
			if k, v := l.setting(); (k == "What" || k == "RESUME") && byName(v) {
				x.line(l, "the device %s", v)
			}
		}
	}
	for _, l := range x.kernelCommandLines() {
		for _, w := range l.words() {
			if v, ok := strings.CutPrefix(w, "resume="); ok && byName(v) {
				x.line(l, "resume from %s", v)
			}
		}
	}
}

// volume reports whether a device is a logical volume, whose name is its own.
func (x *probe) volume(source string) bool {
	parts := strings.Split(strings.TrimPrefix(source, "/dev/"), "/")
	return len(parts) == 2 && x.Exists("/etc/lvm/backup/"+parts[0])
}

// fileSystems are the types that fstab may name.
func fileSystems() []string {
	return []string{
		"ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "msdos", "swap", "tmpfs", "proc", "sysfs", "devpts", "devtmpfs", "cgroup", "cgroup2", "auto", "none", "nfs", "nfs4", "cifs", "efs", "iso9660",
		"udf", "f2fs", "zfs", "overlay", "squashfs", "debugfs", "tracefs", "hugetlbfs", "mqueue", "securityfs", "configfs", "fuse", "bind", "efivarfs", "bpf", "ramfs", "erofs", "virtiofs", "9p", "lustre",
	}
}

func fstabSane(x *probe) {
	for _, p := range []string{"/etc/fstab", "/etc/crontab"} {
		if text := x.Text(p); text != "" && !strings.HasSuffix(text, "\n") {
			x.at(p, "does not end with a newline, so that its last line is lost or joined")
		}
	}
	sources, targets := map[string]bool{}, map[string]bool{}
	for _, m := range x.fstab() {
		virtual := !strings.Contains(m.source, "=") && !strings.HasPrefix(m.source, "/dev/")
		switch {
		case m.target == "" || m.kind == "":
			x.line(m.line, "the line is incomplete")
			continue
		case !virtual && sources[m.source] && !strings.Contains(m.options, "subvol"):
			x.line(m.line, "%s is mounted twice", m.source)
		case m.target != "none" && m.target != "swap" && targets[m.target]:
			x.line(m.line, "two lines for %s", m.target)
		case !slices.Contains(fileSystems(), strings.Split(m.kind, ",")[0]) && !strings.HasPrefix(m.kind, "fuse."):
			x.line(m.line, "no known file system: %s", m.kind)
		case strings.Contains(m.options, "comment=cloudconfig"):
			x.line(m.line, "written by cloud-init on the build machine")
		case (strings.HasPrefix(m.source, "/dev/xvdb") || strings.HasPrefix(m.source, "/dev/nvme1n1") || strings.Contains(m.source, "ephemeral")) && !strings.Contains(m.options, "nofail"):
			x.line(m.line, "a disk that may be missing, without nofail")
		}
		sources[m.source], targets[m.target] = true, true
	}
}

func rootGrows(x *probe) {
	u := x.units()
	if x.Exists("/etc/growroot-disabled") {
		x.at("/etc/growroot-disabled", "switches the growth off")
		return
	}
	growpart := x.has("/usr/bin/growpart", "/bin/growpart")
	switch {
	case u.enabled("rightimage-early"):
	case x.cloudInit() && x.cloudModule("growpart") && growpart:
	case u.enabled("systemd-repart", "growroot", "growpart", "cloud-initramfs-growroot"):
	case len(x.Glob("/etc/repart.d/*.conf", "/usr/lib/repart.d/*.conf")) > 0:
	case growpart && len(x.Glob("/usr/share/initramfs-tools/scripts/local-bottom/growroot", "/usr/lib/dracut/modules.d/*growroot", "/usr/lib/dracut/modules.d/*growroot*/module-setup.sh")) > 0:
	default:
		for _, m := range x.fstab() {
			if m.target == "/" && strings.Contains(m.options, "x-systemd.growfs") {
				return
			}
		}
		x.at("/", "nothing that is enabled grows the root file system")
	}
}

// swapFile finds swap files that were used.
func swapFile(x *file) {
	if !x.Regular() || path.Dir(x.Path) == "" {
		return
	}
	f, err := x.Open()
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read
	used, swap := swapUsed(f, x.Size)
	if swap && used {
		x.found("pages were swapped out into it")
	}
}
