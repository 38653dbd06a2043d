// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Addresses of the network that every guest has for itself.
const (
	guestNet     = "169.254.169.0/24"
	metadataAddr = "169.254.169.254"
	sshHost      = "127.0.0.1"
)

// maxGuestfwd is the length up to which QEMU reads one guestfwd rule; it cuts
// off the rest without a word.
const maxGuestfwd = 1023

// maxSocketPath is what a unix socket address holds on Linux.
const maxSocketPath = 107

// baseArgs are the arguments without disk and network, which the KVM probe uses too.
func baseArgs(accel string, cpus, memoryMiB int) []string {
	accelArgs := []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
	if accel == accelKVM {
		accelArgs = []string{"-accel", "kvm", "-cpu", "host"}
	}
	return append([]string{
		"-no-user-config", "-nodefaults", "-display", "none", "-machine", "pc",
		"-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memoryMiB),
		"-chardev", "socket,id=control,fd=" + strconv.Itoa(controlFD),
		"-mon", "chardev=control,mode=control",
	}, accelArgs...)
}

// wiring is what a machine is connected to, beside its Spec.
type wiring struct {
	accel   string
	console string
	imds    string // path of the metadata service's socket
	relay   []string
	sshPort int
	// addrPort is the port at which the Addresses lead to the guest's ssh; 0: none.
	addrPort int
}

// qemuArgs is the whole command line after the program.
//
// cache=unsafe: the overlay lives as long as the instance, and the guest's
// flushes still empty QEMU's own caches. Only a crash of this host could lose
// writes, and that ends the local cloud anyway.
//
// A reset ends QEMU, and the machine is booted anew: some kernels hang in the
// warm reset of an emulated machine.
func qemuArgs(s Spec, w wiring) ([]string, error) {
	netdev, err := netdevArg(s, w)
	if err != nil {
		return nil, err
	}
	disks, err := diskArgs(s.Disks)
	if err != nil {
		return nil, err
	}
	return slices.Concat(baseArgs(w.accel, s.CPUs, s.MemoryMiB), []string{
		"-name", optValue(s.ID), "-action", "reboot=shutdown",
		"-smbios", "type=1,manufacturer=Amazon EC2,product=" + optValue(s.InstanceType) + ",uuid=" + ec2UUID(s.ID) + ",serial=" + ec2UUID(s.ID),
		"-netdev", netdev,
		"-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + MAC(s.ID),
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=serial,append=on,path=" + optValue(w.console),
		"-serial", "chardev:serial",
	}, disks), nil
}

// netdevArg describes the guest's network: the metadata service, the declared
// forwards and the way in to port 22; all else is cut off (restrict).
func netdevArg(s Spec, w wiring) (string, error) {
	if len(w.imds) > maxSocketPath {
		return "", fmt.Errorf("socket path %q: %d bytes, more than the %d that a unix socket can have: set TMPDIR to a shorter path", w.imds, len(w.imds), maxSocketPath)
	}
	host, domain, _ := strings.Cut(s.Hostname, ".")
	rules := []string{"user,id=n0,ipv6=off,restrict=on,net=" + guestNet}
	if host != "" { // DHCP tells the name, as EC2's does
		rules = append(rules, "hostname="+optValue(host))
	}
	if domain != "" {
		rules = append(rules, "domainname="+optValue(domain))
	}
	rules = append(rules, fmt.Sprintf("hostfwd=tcp:%s:%d-:22", sshHost, w.sshPort))
	if w.addrPort > 0 {
		for _, addr := range s.Addresses {
			rules = append(rules, fmt.Sprintf("hostfwd=tcp:%s:%d-:22", addr, w.addrPort))
		}
	}
	forwards := append([]Forward{{metadataAddr, 80, ""}}, s.Forwards...)
	for _, f := range forwards {
		target := "tcp:" + f.HostAddr
		if f.HostAddr == "" {
			target = "unix:" + w.imds
		}
		rule := fmt.Sprintf("tcp:%s:%d-cmd:%s", f.GuestAddr, f.GuestPort, shellJoin(slices.Concat(w.relay, []string{target})))
		if len(rule) > maxGuestfwd {
			return "", fmt.Errorf("forward %s:%d: QEMU reads at most %d bytes of a rule, this one has %d: use shorter paths (TMPDIR, the program's own path)",
				f.GuestAddr, f.GuestPort, maxGuestfwd, len(rule))
		}
		rules = append(rules, "guestfwd="+optValue(rule))
	}
	return strings.Join(rules, ","), nil
}

// check finds what QEMU would refuse, or worse, misread.
func (f Forward) check() error {
	addr, err := netip.ParseAddr(f.GuestAddr)
	inside := err == nil && netip.MustParsePrefix(guestNet).Contains(addr)
	switch last := f.GuestAddr[strings.LastIndex(f.GuestAddr, ".")+1:]; {
	case !inside:
		return fmt.Errorf("forward: guest address %q is not inside %s", f.GuestAddr, guestNet)
	case f.GuestAddr == GuestIP, last == "0", last == "2", last == "3", last == "255":
		return fmt.Errorf("forward: guest address %s is taken by the guest's network itself: use another, such as 169.254.169.253", f.GuestAddr)
	case f.GuestAddr == metadataAddr && f.GuestPort == 80:
		return fmt.Errorf("forward: %s:80 is the metadata service", metadataAddr)
	case f.GuestPort < 1 || f.GuestPort > 65535:
		return fmt.Errorf("forward: guest port %d is not between 1 and 65535", f.GuestPort)
	}
	if _, port, err := net.SplitHostPort(f.HostAddr); err != nil || port == "" {
		return fmt.Errorf("forward: host address %q: want HOST:PORT", f.HostAddr)
	}
	return nil
}

// optValue writes a value into a QEMU option list, where a comma ends a value
// unless doubled.
func optValue(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// shellJoin quotes argv for the shell-like parser that splits guestfwd commands.
func shellJoin(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// checkText refuses control characters, which no option or command line carries.
func checkText(what, value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s %q holds a control character: QEMU cannot take it", what, value)
	}
	return nil
}

// MAC is the hardware address of an instance's network card, the same at every start.
func MAC(id string) string {
	h := sha256.Sum256([]byte("mac " + id))
	return fmt.Sprintf("02:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4])
}

// ec2UUID is the machine's DMI UUID. EC2's begin with "ec2", which is how guests
// recognise the cloud without any network.
func ec2UUID(id string) string {
	h := fmt.Sprintf("%x", sha256.Sum256([]byte("uuid "+id)))
	return "ec2" + h[:5] + "-" + h[5:9] + "-4" + h[9:12] + "-a" + h[12:15] + "-" + h[15:27]
}
