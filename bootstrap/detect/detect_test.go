// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files maps paths to contents; "->x" is a link to x, "dir" makes a directory.
type files map[string]string

func makeRoot(t *testing.T, fs files) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range fs {
		p := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		target, link := strings.CutPrefix(content, "->")
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, p)
		case content == "dir":
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// program is the head of a little-endian program.
func program(machine uint16) string {
	h := make([]byte, 64)
	copy(h, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(h[18:], machine)
	return string(h)
}

const (
	amd64 = 62
	i386  = 3
	arm64 = 183
)

// TestReleases has one line per release; the wanted string is
// seed distro, base, version, suffix, arch | agent distro, arch | id version codename.
func TestReleases(t *testing.T) {
	osr := func(id, version, rest string) string { return "ID=" + id + "\nVERSION_ID=" + version + "\n" + rest }
	tests := []struct {
		name    string
		fs      files
		machine uint16
		want    string
	}{
		{"debian 12", files{"etc/os-release": "->../usr/lib/os-release", "usr/lib/os-release": osr("debian", `"12"`, `VERSION_CODENAME=bookworm`), "etc/debian_version": "12.8\n"}, amd64, "debian debian 12 deb amd64|debian x86_64|debian 12.8 bookworm"},
		{"debian 12 arm", files{"etc/os-release": osr("debian", `"12"`, `VERSION_CODENAME=bookworm`)}, arm64, "debian debian 12 deb arm64|debian aarch64|debian 12 bookworm"},
		{"debian 9", files{"etc/os-release": osr("debian", `"9"`, `VERSION="9 (stretch)"`), "etc/debian_version": "9.13"}, amd64, "debian debian 9.13 deb amd64|debian x86_64|debian 9.13 stretch"},
		{"debian 6", files{"etc/debian_version": "6.0.10\n"}, i386, "debian debian 6.0.10 deb i386|debian i386|debian 6.0.10 "},
		{"debian sid", files{"etc/os-release": "ID=debian\nVERSION_CODENAME=forky\n", "etc/debian_version": "forky/sid\n"}, amd64, "debian debian unknown deb amd64|debian x86_64|debian  forky"},
		{"raspbian 11", files{"etc/os-release": osr("raspbian", `"11"`, "ID_LIKE=debian\nVERSION_CODENAME=bullseye")}, 40, "debian debian 11 deb armhf|raspbian unknown|raspbian 11 bullseye"},
		{"ubuntu 24.04", files{"etc/os-release": osr("ubuntu", `"24.04"`, "ID_LIKE=debian\nUBUNTU_CODENAME=noble"), "etc/debian_version": "trixie/sid"}, amd64, "ubuntu debian 24.04 deb amd64|ubuntu x86_64|ubuntu 24.04 noble"},
		{"ubuntu 12.04", files{"etc/os-release": osr("ubuntu", `"12.04"`, ""), "etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=12.04\nDISTRIB_CODENAME=precise\n"}, amd64, "ubuntu debian 12.04 deb amd64|ubuntu x86_64|ubuntu 12.04 precise"},
		{"ubuntu 10.04", files{"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.04\nDISTRIB_CODENAME=lucid\nDISTRIB_DESCRIPTION=\"Ubuntu 10.04\"\n", "etc/debian_version": "squeeze/sid"}, i386, "ubuntu debian 10.04 deb i386|ubuntu i386|ubuntu 10.04 lucid"},
		{"mint 21", files{"etc/os-release": osr("linuxmint", `"21"`, `ID_LIKE="ubuntu debian"`)}, amd64, "linuxmint debian 21 deb amd64|linuxmint x86_64|linuxmint 21 "},
		{"kali", files{"etc/os-release": osr("kali", `"2024.3"`, "ID_LIKE=debian")}, amd64, "kali debian 2024.3 deb amd64|kali x86_64|kali 2024.3 "},
		{"centos 5", files{"etc/redhat-release": "CentOS release 5.11 (Final)\n"}, i386, "centos redhat 5.11 rpm i386|centos i386|centos 5.11 Final"},
		{"centos 6", files{"etc/redhat-release": "->centos-release", "etc/centos-release": "CentOS release 6.5 (Final)\n", "etc/system-release": "->centos-release"}, amd64, "centos redhat 6.5 rpm x86_64|centos x86_64|centos 6.5 Final"},
		{"centos 7", files{"etc/os-release": osr("centos", `"7"`, `ID_LIKE="rhel fedora"`), "etc/centos-release": "CentOS Linux release 7.9.2009 (Core)\n"}, amd64, "centos redhat 7.9.2009 rpm x86_64|centos x86_64|centos 7.9.2009 "},
		{"centos stream 9", files{"etc/os-release": osr("centos", `"9"`, `ID_LIKE="rhel fedora"`), "etc/centos-release": "CentOS Stream release 9\n"}, arm64, "centos redhat 9 rpm aarch64|centos aarch64|centos 9 "},
		{"rhel 6", files{"etc/redhat-release": "Red Hat Enterprise Linux Server release 6.10 (Santiago)\n"}, amd64, "rhel redhat 6.10 rpm x86_64|redhatenterpriseserver x86_64|rhel 6.10 Santiago"},
		{"rhel 7", files{"etc/os-release": osr(`"rhel"`, `"7.9"`, "")}, amd64, "rhel redhat 7.9 rpm x86_64|redhatenterpriseserver x86_64|rhel 7.9 "},
		{"rhel 9", files{"etc/os-release": osr(`"rhel"`, `"9.4"`, `ID_LIKE="fedora"`)}, amd64, "rhel redhat 9.4 rpm x86_64|redhatenterprise x86_64|rhel 9.4 "},
		{"oracle 5", files{"etc/enterprise-release": "Enterprise Linux Enterprise Linux Server release 5.5 (Carthage)\n", "etc/redhat-release": "Red Hat Enterprise Linux Server release 5.5 (Tikanga)\n"}, amd64, "oel redhat 5.5 rpm x86_64|oracleserver x86_64|ol 5.5 Carthage"},
		{"oracle 8", files{"etc/os-release": osr(`"ol"`, `"8.10"`, `ID_LIKE="fedora"`)}, amd64, "oel redhat 8.10 rpm x86_64|oracleserver x86_64|ol 8.10 "},
		{"rocky 9", files{"etc/os-release": osr(`"rocky"`, `"9.4"`, `ID_LIKE="rhel centos fedora"`)}, amd64, "rocky redhat 9.4 rpm x86_64|rocky x86_64|rocky 9.4 "},
		{"alma 10", files{"etc/os-release": osr(`"almalinux"`, `"10.0"`, `ID_LIKE="rhel centos fedora"`)}, amd64, "almalinux redhat 10.0 rpm x86_64|almalinux x86_64|almalinux 10.0 "},
		{"scientific 6", files{"etc/redhat-release": "Scientific Linux release 6.4 (Carbon)\n"}, amd64, "scientific redhat 6.4 rpm x86_64|scientific x86_64|scientific 6.4 Carbon"},
		{"eurolinux", files{"etc/os-release": osr(`"eurolinux"`, `"9.3"`, `ID_LIKE="rhel fedora centos"`)}, amd64, "eurolinux redhat 9.3 rpm x86_64|eurolinux x86_64|eurolinux 9.3 "},
		{"amazon 1", files{"etc/system-release": "Amazon Linux AMI release 2018.03\n"}, amd64, "amzn redhat 2018.03 rpm x86_64|amazon x86_64|amzn 2018.03 "},
		{"amazon 2", files{"etc/os-release": osr(`"amzn"`, `"2"`, `ID_LIKE="centos rhel fedora"`)}, arm64, "amzn redhat 2 rpm aarch64|amazon aarch64|amzn 2 "},
		{"amazon 2023", files{"etc/os-release": osr(`"amzn"`, `"2023"`, `ID_LIKE="fedora"`)}, amd64, "amzn redhat 2023 rpm x86_64|amazon x86_64|amzn 2023 "},
		{"fedora 18", files{"etc/fedora-release": "Fedora release 18 (Spherical Cow)\n"}, amd64, "fedora redhat 18 rpm x86_64|fedora x86_64|fedora 18 Spherical Cow"},
		{"fedora 41", files{"etc/os-release": osr("fedora", "41", "")}, amd64, "fedora redhat 41 rpm x86_64|fedora x86_64|fedora 41 "},
		{"sles 11", files{"etc/SuSE-release": "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n"}, amd64, "suse suse 11.3 rpm x86_64|suse x86_64|sles 11.3 "},
		{"sles 15", files{"etc/os-release": osr(`"sles"`, `"15.6"`, `ID_LIKE="suse"`)}, amd64, "suse suse 15.6 rpm x86_64|suse x86_64|sles 15.6 "},
		{"opensuse 13", files{"etc/SuSE-release": "openSUSE 13.1 (x86_64)\nVERSION = 13.1\nCODENAME = Bottle\n"}, amd64, "suse suse 13.1 rpm x86_64|opensuse x86_64|opensuse 13.1 Bottle"},
		{"leap 15", files{"usr/lib/os-release": osr(`"opensuse-leap"`, `"15.6"`, `ID_LIKE="suse opensuse"`)}, amd64, "suse suse 15.6 rpm x86_64|opensuse x86_64|opensuse-leap 15.6 "},
		{"alpine", files{"etc/os-release": osr("alpine", "3.20.3", ""), "bin/sh": "->/bin/busybox"}, amd64, "alpine alpine 3.20.3 tar.gz x86_64|alpine x86_64|alpine 3.20.3 "},
		{"old alpine", files{"etc/alpine-release": "2.7.9\n"}, amd64, "alpine alpine 2.7.9 tar.gz x86_64|alpine x86_64|alpine 2.7.9 "},
		{"arch", files{"etc/os-release": "ID=arch\nBUILD_ID=rolling\n"}, amd64, "arch arch unknown tar.gz x86_64|arch x86_64|arch  "},
		{"old arch", files{"etc/arch-release": ""}, amd64, "arch arch unknown tar.gz x86_64|arch x86_64|arch  "},
		{"gentoo", files{"etc/os-release": osr("gentoo", "2.15", "")}, amd64, "gentoo gentoo 2.15 tar.gz x86_64|gentoo x86_64|gentoo 2.15 "},
		// Unknown or malformed ones: facts, and ErrUnknownOS.
		{"nixos", files{"etc/os-release": osr("nixos", `"24.05"`, "")}, amd64, "unknown unknown 24.05 tar.gz x86_64|nixos x86_64|nixos 24.05 !"},
		{"nothing", files{}, amd64, "unknown unknown unknown tar.gz x86_64|unknown x86_64|  !"},
		{"empty os-release", files{"etc/os-release": "", "etc/debian_version": "7.11"}, amd64, "debian debian 7.11 deb amd64|debian x86_64|debian 7.11 "},
		{"os-release of junk", files{"etc/os-release": "\x00\xff<html>\n= =\nID\n"}, amd64, "unknown unknown unknown tar.gz x86_64|unknown x86_64|  !"},
		{"os-release is a directory", files{"etc/os-release": "dir", "etc/redhat-release": "CentOS release 6.5 (Final)"}, amd64, "centos redhat 6.5 rpm x86_64|centos x86_64|centos 6.5 Final"},
		{"CRLF and quotes", files{"etc/os-release": "# c\r\nID='debian'\r\nVERSION_ID=\"12\r\nVERSION_CODENAME=\"book\\\"worm\"\r\n"}, amd64, `debian debian 12 deb amd64|debian x86_64|debian 12 book"worm`},
		{"link loop", files{"etc/os-release": "->os-release", "etc/debian_version": "12.1"}, amd64, "debian debian 12.1 deb amd64|debian x86_64|debian 12.1 "},
		{"link out of the root", files{"etc/os-release": "->/../../../../../../../../etc/os-release", "etc/debian_version": "12.1"}, amd64, "debian debian 12.1 deb amd64|debian x86_64|debian 12.1 "},
		{"release without number", files{"etc/redhat-release": "CentOS release\n"}, amd64, "unknown unknown unknown tar.gz x86_64|unknown x86_64|  !"},
		{"no program", files{"etc/os-release": osr("debian", "12", ""), "bin/sh": "#!/bin/x"}, 0, "debian debian 12 deb unknown|debian unknown|debian 12 "},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if tc.machine != 0 {
				tc.fs["bin/busybox"] = program(tc.machine)
			}
			f, err := Detect(makeRoot(t, tc.fs))
			got := strings.Join([]string{f.Seed.Distro, f.Seed.BaseOS, f.Seed.OSVersion, f.Seed.Suffix, f.Seed.Arch}, " ") + "|" +
				f.Agent.Distro + " " + f.Agent.Arch + "|" + f.ID + " " + f.Version + " " + f.Codename
			if errors.Is(err, ErrUnknownOS) {
				got += "!"
			}
			if got != tc.want {
				t.Errorf("\n got %q\nwant %q (%v)", got, tc.want, err)
			}
		})
	}
}

func TestInit(t *testing.T) {
	tests := map[string]struct {
		fs   files
		want Init
	}{
		"debian":             {files{"sbin/init": "->/lib/systemd/systemd", "lib/systemd/systemd": "x", "etc/init.d": "dir"}, Systemd},
		"merged /usr":        {files{"sbin": "->usr/sbin", "usr/sbin/init": "->../lib/systemd/systemd", "lib": "->usr/lib", "usr/lib/systemd/systemd": "x"}, Systemd},
		"sysvinit-core":      {files{"sbin/init": "x", "lib/systemd/systemd": "x", "etc/init.d": "dir"}, SysV},
		"centos 5":           {files{"sbin/init": "x", "etc/rc.d/init.d": "dir"}, SysV},
		"centos 6":           {files{"sbin/init": "x", "sbin/initctl": "x", "etc/init": "dir", "etc/rc.d/init.d": "dir"}, Upstart},
		"ubuntu 16, upstart": {files{"sbin/init": "->upstart", "sbin/upstart": "x", "etc/init.d": "dir"}, Upstart},
		"alpine":             {files{"sbin/init": "->/bin/busybox", "bin/busybox": "x", "etc/runlevels": "dir", "sbin/openrc": "x", "etc/init.d": "dir"}, OpenRC},
		"systemd by name":    {files{"usr/lib/systemd/systemd": "x"}, Systemd},
		"container image":    {files{"bin/sh": "x"}, InitNone},
		"dangling link":      {files{"sbin/init": "->/nowhere"}, InitNone},
		"busybox only":       {files{"sbin/init": "->/bin/busybox", "bin/busybox": "x"}, InitNone},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, _ := Detect(makeRoot(t, tc.fs))
			if f.Init != tc.want || f.InitRunning {
				t.Errorf("got %s running %v", f.Init, f.InitRunning)
			}
		})
	}
}

func TestVirtContainerCloud(t *testing.T) {
	const dmi = "sys/class/dmi/id/"
	tests := map[string]struct {
		fs   files
		want string // virt, container, cloud, source
	}{
		"nothing":         {files{}, "none  none default"},
		"nitro":           {files{dmi + "sys_vendor": "Amazon EC2\n", dmi + "product_name": "t3.small\n"}, "amazon  ec2 dmi"},
		"bare metal":      {files{dmi + "sys_vendor": "Amazon EC2", dmi + "product_name": "c5.metal"}, "none  ec2 dmi"},
		"ec2 on xen":      {files{dmi + "bios_vendor": "Xen", dmi + "bios_version": "4.11.amazon", "sys/hypervisor/uuid": "ec2f58c6-1234"}, "xen  ec2 dmi"},
		"file wins":       {files{dmi + "sys_vendor": "Amazon EC2", "etc/rightscale.d/cloud": "none\n"}, "amazon  none file"},
		"auto":            {files{dmi + "sys_vendor": "Amazon EC2\n", "etc/rightscale.d/cloud": "auto\n"}, "amazon  ec2 dmi"},
		"blank file":      {files{"etc/rightscale.d/cloud": " \n"}, "none  none default"},
		"qemu":            {files{dmi + "sys_vendor": "QEMU"}, "qemu  none default"},
		"kvm":             {files{dmi + "sys_vendor": "Red Hat", dmi + "product_name": "KVM"}, "kvm  none default"},
		"azure":           {files{dmi + "sys_vendor": "Microsoft Corporation", dmi + "product_name": "Virtual Machine"}, "microsoft  none default"},
		"azure, really":   {files{dmi + "sys_vendor": "Microsoft Corporation", dmi + "product_name": "Virtual Machine", dmi + "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n"}, "microsoft  azure dmi"},
		"seed files":      {files{"var/lib/cloud/seed/nocloud/meta-data": "x"}, "none  nocloud dmi"},
		"config drive":    {files{"dev/disk/by-label/config-2": "x"}, "none  openstack dmi"},
		"vmware":          {files{dmi + "sys_vendor": "VMware, Inc."}, "vmware  vsphere dmi"},
		"surface":         {files{dmi + "sys_vendor": "Microsoft Corporation", dmi + "product_name": "Surface"}, "none  none default"},
		"flag only":       {files{"proc/cpuinfo": "processor: 0\nflags\t\t: fpu hypervisor\n"}, "vm-other  none default"},
		"no flag":         {files{"proc/cpuinfo": "flags\t\t: fpu hypervisorx\n"}, "none  none default"},
		"docker":          {files{".dockerenv": ""}, "none docker none default"},
		"nspawn":          {files{"run/systemd/container": "systemd-nspawn\n"}, "none systemd-nspawn none default"},
		"lxc environment": {files{"proc/1/environ": "A=b\x00container=lxc\x00"}, "none lxc none default"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, _ := Detect(makeRoot(t, tc.fs))
			if got := f.Virt + " " + f.Container + " " + f.Cloud + " " + f.CloudSource; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestThisMachine runs on the real root, whatever it is.
func TestThisMachine(t *testing.T) {
	f, err := Detect("/")
	if err != nil && !errors.Is(err, ErrUnknownOS) {
		t.Fatal(err)
	}
	if f.Arch == "" || f.Arch == unknown || f.Init == "" || f.Virt == "" || f.Cloud == "" {
		t.Errorf("facts are missing: %+v", f)
	}
	t.Logf("%+v", f)
}

// BenchmarkDetect shows that a machine is recognised in well under 5 ms, and
// without a network.
func BenchmarkDetect(b *testing.B) {
	for b.Loop() {
		_, _ = Detect("/")
	}
}

func FuzzOSRelease(f *testing.F) {
	for _, s := range []string{"", "ID=debian\nVERSION_ID=\"12\"\n", "ID='a'\\''b'\r\n", "A=\"open", "=x\n#ID=y\nID=z # c", "\xef\xbb\xbfID=x\x00", "ID=\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for k, v := range parseOSRelease(text) {
			if !isKey(k) || strings.ContainsAny(v, "\n\r\x00") {
				t.Fatalf("%q=%q", k, v)
			}
		}
		r := fromOSRelease(parseOSRelease(text))
		seed, agent := vocabularies(r, "amd64")
		if seed.Distro == "" || seed.BaseOS == "" || seed.OSVersion == "" || agent.Distro == "" {
			t.Fatalf("%+v %+v of %q", seed, agent, text)
		}
		suseRelease(text)
	})
}
