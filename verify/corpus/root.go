// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package corpus makes root trees and disks with one planted defect each, and
// near-misses that look like it and are harmless. Tests verify all of them;
// "go run ./verify/corpus/make DIR" writes them for other tools.
package corpus

import (
	"bytes"
	"compress/gzip"
	"crypto/md5" // what dpkg keeps
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Root is a tree under construction. The first error stops what follows.
type Root struct {
	Dir string
	Err error
}

// Plant changes a tree.
type Plant func(r *Root)

func (r *Root) at(p string) string { return filepath.Join(r.Dir, p) }

func (r *Root) try(err error) {
	if r.Err == nil {
		r.Err = err
	}
}

// write makes a file with its directories.
func (r *Root) write(p, content string, mode fs.FileMode) {
	name := r.at(p)
	r.try(errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.RemoveAll(name), os.WriteFile(name, []byte(content), 0o600), os.Chmod(name, mode)))
}

// File plants a file that anybody may read.
func File(p, content string) Plant { return func(r *Root) { r.write(p, content, 0o644) } }

// Mode plants a file of another mode.
func Mode(p, content string, mode fs.FileMode) Plant {
	return func(r *Root) { r.write(p, content, mode) }
}

// Dir plants a directory.
func Dir(p string, mode fs.FileMode) Plant {
	return func(r *Root) { r.try(errors.Join(os.MkdirAll(r.at(p), 0o755), os.Chmod(r.at(p), mode))) }
}

// Link plants a symbolic link.
func Link(p, to string) Plant {
	return func(r *Root) {
		r.try(errors.Join(os.MkdirAll(filepath.Dir(r.at(p)), 0o755), os.RemoveAll(r.at(p)), os.Symlink(to, r.at(p))))
	}
}

// Remove takes something away.
func Remove(p string) Plant { return func(r *Root) { r.try(os.RemoveAll(r.at(p))) } }

// Append adds to a file.
func Append(p, text string) Plant {
	return func(r *Root) {
		data, err := os.ReadFile(r.at(p))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.try(err)
		}
		info, err := os.Stat(r.at(p))
		mode := fs.FileMode(0o644)
		if err == nil {
			mode = info.Mode()
		}
		r.write(p, string(data)+text, mode)
	}
}

// Edit replaces a text that must be there.
func Edit(p, old, text string) Plant {
	return func(r *Root) {
		data, err := os.ReadFile(r.at(p))
		if err != nil {
			r.try(err)
			return
		}
		info, err := os.Stat(r.at(p))
		if err != nil || !strings.Contains(string(data), old) {
			r.try(errors.Join(err, fmt.Errorf("%s does not hold %q", p, old)))
			return
		}
		r.write(p, strings.Replace(string(data), old, text, 1), info.Mode())
	}
}

// Packaged plants a file that the package "extra" has brought, with its sum.
func Packaged(p, content string, mode fs.FileMode) Plant {
	return All(Mode(p, content, mode), func(r *Root) { r.own(p, content) })
}

func (r *Root) own(p, content string) {
	sum := md5.Sum([]byte(content))
	Append("/var/lib/dpkg/info/extra.list", p+"\n")(r)
	Append("/var/lib/dpkg/info/extra.md5sums", hex.EncodeToString(sum[:])+"  "+strings.TrimPrefix(p, "/")+"\n")(r)
}

// Installed adds a package to the database.
func Installed(name, version string) Plant {
	return Append("/var/lib/dpkg/status", fmt.Sprintf("Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\n\n", name, version))
}

// Enabled makes a unit start at boot.
func Enabled(unit string) Plant {
	return All(Packaged("/usr/lib/systemd/system/"+unit, "[Service]\nExecStart=/usr/sbin/x\n", 0o644),
		Link("/etc/systemd/system/multi-user.target.wants/"+unit, "/usr/lib/systemd/system/"+unit))
}

// All plants several things.
func All(plants ...Plant) Plant {
	return func(r *Root) {
		for _, p := range plants {
			p(r)
		}
	}
}

// KernelVersion is that of the base tree.
const KernelVersion = "6.1.0-1-cloud-amd64"

// Base makes a tree that has nothing to be found.
func Base(dir string) error {
	r := &Root{Dir: dir}
	admin := ""
	if os.Geteuid() != 0 { // somebody has to own the files
		admin = fmt.Sprintf("admin:x:%d:%d::/home/admin:/bin/bash\n", os.Geteuid(), os.Getegid())
	}
	group := "root:x:0:\nshadow:x:42:\nnogroup:x:65534:\n"
	if admin != "" {
		group += fmt.Sprintf("admin:x:%d:\n", os.Getegid())
	}
	All(
		Dir("/tmp", fs.ModeSticky|0o777), Dir("/var/tmp", fs.ModeSticky|0o777), Dir("/root", 0o700), Dir("/home", 0o755), Dir("/mnt", 0o755),
		File("/etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"),
		File("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nsync:x:4:65534:sync:/bin:/bin/sync\n"+admin),
		Mode("/etc/shadow", "root:!:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nsync:*:19000:0:99999:7:::\n", 0o640),
		File("/etc/group", group), Mode("/etc/gshadow", "root:*::\nshadow:*::\n", 0o640),
		File("/etc/machine-id", ""), Link("/var/lib/dbus/machine-id", "/etc/machine-id"), File("/etc/hostname", "localhost\n"),
		File("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n"),
		Link("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"), Link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
		File("/etc/fstab", "LABEL=root / ext4 rw,errors=remount-ro 0 0\n"),
		File("/etc/login.defs", "# UID_MIN is where people begin\nUID_MIN 1000\n"),
	)(r)
	r.services()
	r.boot()
	r.database()
	return r.Err
}

// services plants what an image of ours starts.
func (r *Root) services() {
	All(
		Mode("/usr/sbin/sshd", "\x7fELFsshd", 0o755), Mode("/usr/lib/openssh/sftp-server", "\x7fELFsftp", 0o755),
		File("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n#PermitRootLogin yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n"),
		Dir("/etc/ssh/sshd_config.d", 0o755),
		Mode("/usr/bin/doas", "\x7fELFdoas", 0o755), Mode("/opt/rightscale/bin/bootstrap", "\x7fELFbootstrap", 0o755),
		Mode("/usr/lib/systemd/systemd", "\x7fELFsystemd", 0o755), Mode("/usr/lib/systemd/systemd-logind", "\x7fELFlogind", 0o755), Link("/sbin/init", "/usr/lib/systemd/systemd"),
		File("/etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
		File("/etc/systemd/network/20-dhcp.network", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"),
		File("/etc/apt/sources.list", "deb http://deb.debian.org/debian bookworm main\n"),
		Mode("/etc/sudoers", "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n", 0o440),
	)(r)
	for _, unit := range []string{"ssh.service", "systemd-networkd.service", "systemd-timesyncd.service"} {
		Enabled(unit)(r)
	}
	for _, unit := range []string{"rightimage-early.service", "rightimage-key.service"} {
		All(File("/etc/systemd/system/"+unit, "[Service]\nExecStart=/opt/rightscale/bin/bootstrap early\n"),
			Link("/etc/systemd/system/multi-user.target.wants/"+unit, "/etc/systemd/system/"+unit))(r)
	}
	if os.Geteuid() == 0 {
		Packaged("/usr/bin/sudo", "\x7fELFsudo", fs.ModeSetuid|0o755)(r)
	}
}

func (r *Root) boot() {
	modules := "/lib/modules/" + KernelVersion
	var dep strings.Builder
	var files []string
	for _, m := range []string{"kernel/drivers/nvme/host/nvme.ko", "kernel/drivers/net/ethernet/amazon/ena/ena.ko", "kernel/drivers/block/xen-blkfront.ko", "kernel/drivers/net/xen-netfront.ko"} {
		dep.WriteString(m + ":\n")
		files = append(files, modules[1:]+"/"+m)
	}
	All(
		File("/boot/vmlinuz-"+KernelVersion, "kernel"), File(modules+"/modules.dep", dep.String()), File(modules+"/modules.builtin", "kernel/fs/ext4/ext4.ko\n"),
		File("/boot/initrd.img-"+KernelVersion, Initramfs(files...)),
		File("/boot/grub/grub.cfg", "set timeout=0\nmenuentry 'Debian' {\n\tlinux /boot/vmlinuz-"+KernelVersion+" root=LABEL=root ro console=tty0 console=ttyS0,115200n8\n\tinitrd /boot/initrd.img-"+KernelVersion+"\n}\n"),
	)(r)
}

// database makes everything so far the content of a package.
func (r *Root) database() {
	var list strings.Builder
	r.try(filepath.WalkDir(r.Dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			list.WriteString("/" + strings.TrimPrefix(strings.TrimPrefix(p, r.Dir), "/") + "\n")
		}
		return err
	}))
	Installed("base", "1")(r)
	Installed("extra", "1")(r)
	File("/var/lib/dpkg/info/base.list", list.String())(r)
}

// Initramfs makes one that holds the named files.
func Initramfs(files ...string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, f := range append(files, "TRAILER!!!") {
		content := ""
		if name, text, ok := strings.Cut(f, "="); ok {
			f, content = name, text
		}
		name := path.Clean(f) + "\x00"
		head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
		for _, part := range []string{head + name, content} {
			_, _ = z.Write([]byte(part + strings.Repeat("\x00", (4-len(part)%4)%4))) // a buffer takes everything
		}
	}
	_ = z.Close()
	return b.String()
}
