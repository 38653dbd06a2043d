// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bootChecks are about whether instances come up.
func bootChecks() []*Check {
	return []*Check{
		{
			ID: "boot-kernel-set", Class: Disk, Severity: Blocker,
			Pass:   "there is a kernel with its modules, their index, and its initramfs",
			Remedy: "install a kernel; run depmod and rebuild the initramfs",
			whole:  kernelSet,
		},
		{
			ID: "boot-driver-nvme", Class: Disk, Severity: Blocker,
			Pass:   "the kernel reaches NVMe disks when it looks for its root: built in, or in the initramfs, which is not made for the build host alone",
			Remedy: "add nvme to the modules of the initramfs, and rebuild it",
			whole:  func(x *probe) { x.driver("nvme", "CONFIG_BLK_DEV_NVME", true) },
		},
		{
			ID: "boot-driver-ena", Class: Disk, Severity: Blocker,
			Pass:   "the kernel has the ENA network driver",
			Remedy: "install a kernel that has it",
			whole:  func(x *probe) { x.driver("ena", "CONFIG_ENA_ETHERNET", false) },
		},
		{
			ID: "boot-driver-xen", Class: Disk, Severity: Warning,
			Pass:   "on x86_64 the kernel has the drivers of Xen instances",
			Remedy: "add xen-blkfront to the modules of the initramfs, or leave Xen instance types out",
			whole: func(x *probe) {
				if len(x.Glob("/usr/lib/ld-linux-aarch64*", "/lib/ld-linux-aarch64*", "/lib/ld-musl-aarch64*")) == 0 {
					x.driver("xen-blkfront", "CONFIG_XEN_BLKDEV_FRONTEND", true)
					x.driver("xen-netfront", "CONFIG_XEN_NETDEV_FRONTEND", false)
				}
			},
		},
		{
			ID: "boot-loader-root", Class: Disk, Severity: Blocker,
			Pass:   "the boot loader finds the root by UUID or label, waits 5 seconds at most, and lists no system of the build host",
			Remedy: "set root=UUID=… and make the boot loader's configuration anew, with os-prober off",
			whole:  loaderRoot,
		},
		{
			ID: "boot-firmware-path", Class: Disk, Severity: Blocker,
			Pass:   "where the image boots by UEFI, the loader is at the removable path EFI/BOOT",
			Remedy: "copy the distribution's loader to EFI/BOOT/BOOTX64.EFI or BOOTAA64.EFI",
			whole:  firmwarePath,
		},
		{
			ID: "boot-serial-console", Class: Disk, Severity: Warning,
			Pass:   "the kernel writes to the serial console, and there is a login",
			Remedy: "add console=ttyS0,115200n8 to the kernel's arguments",
			whole:  serialConsole,
		},
	}
}

// kernels are the versions that have modules.
func (x *probe) kernels() []string {
	var out []string
	for _, dir := range []string{"/usr/lib/modules", "/lib/modules"} {
		for _, v := range x.ReadDir(dir) {
			if info, err := x.Stat(dir + "/" + v); err == nil && info.IsDir() && !slices.Contains(out, v) && (x.has(dir+"/"+v+"/modules.dep", dir+"/"+v+"/kernel") || x.has("/boot/vmlinuz-"+v, "/boot/vmlinux-"+v)) {
				out = append(out, v)
			}
		}
	}
	return out
}

func kernelSet(x *probe) {
	images := x.Glob("/boot/vmlinuz*", "/boot/vmlinux*", "/boot/Image*", "/usr/lib/modules/*/vmlinuz", "/lib/modules/*/vmlinuz", "/boot/efi/EFI/Linux/*.efi", "/efi/EFI/Linux/*.efi", "/boot/*/*/linux")
	if len(images) == 0 {
		x.at("/boot", "there is no kernel")
		return
	}
	versions := x.kernels()
	if len(versions) == 0 {
		x.at("/lib/modules", "there are no modules")
	}
	for _, v := range versions {
		if !x.has("/lib/modules/"+v+"/modules.dep", "/usr/lib/modules/"+v+"/modules.dep") {
			x.at("/lib/modules/"+v, "no modules.dep: depmod was not run")
		}
	}
	for _, p := range x.Glob("/boot/vmlinuz-*") {
		v := strings.TrimPrefix(path.Base(p), "vmlinuz-")
		switch {
		case strings.Contains(v, "rescue") || len(x.ReadDir("/lib/modules/"+v)) == 0 && len(x.Glob("/lib/modules/*"+v)) == 0 && slices.Contains([]string{"virt", "lts", "linux"}, v):
		case len(x.ReadDir("/lib/modules/"+v)) == 0:
			x.at(p, "there is no /lib/modules/%s", v)
		case len(x.Glob("/boot/initrd.img-"+v, "/boot/initramfs-"+v+"*", "/boot/initrd-"+v+"*")) == 0:
			x.at(p, "it has no initramfs")
		}
	}
	for _, p := range []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"} {
		for _, l := range x.lines(p) {
			key, rest := l.key()
			if words := strings.Fields(rest); len(words) > 0 && strings.HasPrefix(words[0], "/") && (key == "linux" || key == "initrd" || key == "linux16" || key == "initrd16") {
				if !x.has(words[0], "/boot"+words[0]) {
					x.line(l, "there is no %s", words[0])
				}
			}
		}
	}
}

// driver looks for a module in every kernel: built in, in the initramfs when the
// root depends on it, else on the disk.
func (x *probe) driver(name, config string, early bool) {
	for _, v := range x.kernels() {
		if x.builtIn(v, name, config) {
			continue
		}
		dirs := []string{"/usr/lib/modules/" + v, "/lib/modules/" + v}
		onDisk := false
		for _, d := range dirs {
			onDisk = onDisk || strings.Contains(strings.ReplaceAll(x.Text(d+"/modules.dep"), "_", "-"), "/"+name+".ko")
		}
		if !onDisk {
			x.at("/lib/modules/"+v, "the kernel has no driver %s", name)
			continue
		}
		if !early {
			continue
		}
		files := x.Glob("/boot/initrd.img-"+v, "/boot/initramfs-"+v+".img", "/boot/initrd-"+v, "/boot/initramfs-*")
		if len(files) == 0 {
			continue // boot-kernel-set has told it
		}
		list, err := x.initramfs(files[0])
		if err != nil {
			x.skip(files[0] + ": " + err.Error())
			continue
		}
		if !list.module(name) {
			x.at(files[0], "the driver %s is not in it%s", name, x.narrowed())
		}
	}
}

// narrowed says why an initramfs may lack drivers.
func (x *probe) narrowed() string {
	for _, p := range append(x.Glob("/etc/dracut.conf.d/*.conf", "/etc/initramfs-tools/conf.d/*"), "/etc/dracut.conf", "/etc/initramfs-tools/initramfs.conf") {
		for _, l := range x.lines(p) {
			if k, v := l.setting(); k == "hostonly" && v == "yes" || k == "MODULES" && v == "dep" {
				return "; " + p + " limits it to the build host"
			}
		}
	}
	return ""
}

func (x *probe) builtIn(version, name, config string) bool {
	for _, d := range []string{"/usr/lib/modules/", "/lib/modules/"} {
		text := strings.ReplaceAll(x.Text(d+version+"/modules.builtin"), "_", "-")
		if strings.Contains(text, "/"+name+".ko") {
			return true
		}
		for _, p := range []string{"/boot/config-" + version, d + version + "/config"} {
			if regexp.MustCompile(`(?m)^` + config + `=y$`).MatchString(x.Text(p)) {
				return true
			}
		}
	}
	return false
}

func loaderRoot(x *probe) {
	for _, l := range x.kernelCommandLines() {
		for _, w := range l.words() {
			v, ok := strings.CutPrefix(w, "root=")
			if ok && (byName(v) || strings.HasPrefix(v, "/dev/mapper/loop")) {
				x.line(l, "root=%s", v)
			}
		}
	}
	for _, p := range []string{"/boot/grub/grub.cfg", "/boot/grub2/grub.cfg"} {
		text := x.Text(p)
		if strings.Contains(text, "### BEGIN /etc/grub.d/30_os-prober ###") && regexp.MustCompile(`(?s)30_os-prober ###.*menuentry.*30_os-prober ###`).MatchString(text) {
			x.at(p, "os-prober has listed systems of the build host")
		}
		for _, l := range parseLines(p, text) {
			if v, ok := strings.CutPrefix(l.text, "set timeout="); ok {
				if n, err := strconv.Atoi(v); err == nil && (n > 5 || n < 0) && x.lastTimeout(p) == v {
					x.line(l, "waits %s seconds", v)
				}
			}
		}
	}
	if len(x.Glob("/boot/grub/device.map", "/boot/grub2/device.map")) > 0 {
		x.as(Info, "/boot/grub/device.map", 0, "names the disks of the build host")
	}
	id := regexp.MustCompile(`^[0-9a-f]{32}(-.*)?$`)
	for _, p := range x.Glob("/boot/loader/entries/*.conf", "/efi/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf") {
		if id.MatchString(strings.TrimSuffix(path.Base(p), ".conf")) && !x.Exists("/etc/kernel/entry-token") && x.systemdBoot() {
			x.at(p, "is named after the old machine id, and there is no /etc/kernel/entry-token")
		}
	}
}

// systemdBoot reports whether the entries are those of kernel-install, which
// names them after the machine id, and not of GRUB, which reads any name.
func (x *probe) systemdBoot() bool {
	return len(x.Glob("/boot/efi/EFI/systemd/*.efi", "/efi/EFI/systemd/*.efi", "/boot/EFI/systemd/*.efi")) > 0
}

// lastTimeout is the timeout that counts: GRUB takes the last.
func (x *probe) lastTimeout(p string) string {
	last := ""
	for _, l := range x.lines(p) {
		if v, ok := strings.CutPrefix(l.text, "set timeout="); ok {
			last = v
		}
	}
	return last
}

func firmwarePath(x *probe) {
	for _, esp := range []string{"/boot/efi", "/efi"} {
		loaders := x.Glob(esp+"/EFI/*/*.efi", esp+"/EFI/*/*.EFI")
		if len(loaders) == 0 {
			continue
		}
		if len(x.Glob(esp+"/EFI/[Bb][Oo][Oo][Tt]/[Bb][Oo][Oo][Tt]*.[Ee][Ff][Ii]")) == 0 {
			x.at(esp+"/EFI/BOOT", "there is no loader at the removable path: variables of the firmware do not travel with a disk")
		}
	}
}

func serialConsole(x *probe) {
	lines := x.kernelCommandLines()
	serial := regexp.MustCompile(`\bconsole=tty(S|AMA)0\b`)
	if len(lines) > 0 && !slices.ContainsFunc(lines, func(l line) bool { return serial.MatchString(l.text) }) &&
		!serial.MatchString(x.Text("/etc/default/grub")) && !serial.MatchString(x.Text("/boot/grub2/grubenv")) && !serial.MatchString(x.Text("/boot/grub/grubenv")) {
		x.line(lines[0], "no console=ttyS0")
	}
	if u := x.units(); !u.systemd() && len(x.lines("/etc/inittab")) > 0 && !regexp.MustCompile(`(?m)^[^#].*tty(S|AMA)0`).MatchString(x.Text("/etc/inittab")) {
		x.at("/etc/inittab", "no login at ttyS0")
	}
	if to, err := x.Readlink("/etc/systemd/system/serial-getty@ttyS0.service"); err == nil && to == "/dev/null" {
		x.at("/etc/systemd/system/serial-getty@ttyS0.service", "the login at the serial console is switched off")
	}
}
