// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package clean

import (
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// credentials removes the files that hold nothing else. Others are left to
// people: verify names them.
func credentials(c *cleaner) {
	c.remove("~/.aws", "~/.boto", "~/.s3cfg", "~/.passwd-s3fs", "/etc/passwd-s3fs", "/etc/boto.cfg")
	c.remove("~/.config/gcloud", "~/.azure", "~/.oci", "~/.kube", "~/.vault-token", "~/.terraform.d/credentials.tfrc.json", "~/.pulumi/credentials.json")
	c.remove("~/.git-credentials", "~/.config/git/credentials", "~/.netrc", "~/.config/gh", "~/.config/hub", "~/.docker/config.json", "~/.dockercfg", "~/.config/containers/auth.json",
		"~/.npmrc", "~/.pypirc", "~/.gem", "~/.cargo/credentials*", "~/.m2/settings.xml", "~/.composer/auth.json", "~/.config/composer/auth.json", "~/.config/rclone/rclone.conf")
	c.remove("/etc/apt/auth.conf", "/etc/apt/auth.conf.d/*")
	c.rewrite("remove the proxy from", []string{"/etc/environment", "/etc/wgetrc", "~/.wgetrc", "~/.curlrc", "/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*"}, withoutProxy)
	c.remove("~/.pgpass", "~/.my.cnf", "~/.mylogin.cnf", "~/.odbc.ini", "~/.msmtprc", "/etc/postfix/sasl_passwd*")
	c.remove("/var/lib/tailscale/*", "/var/lib/zerotier-one/identity.secret")
	c.remove("/etc/krb5.keytab", "/var/lib/sss/db/*", "/var/lib/sss/secrets/*", "/var/lib/samba/private/secrets.tdb", "/etc/ipa/default.conf", "/etc/ipa/ca.crt", "/var/lib/ipa-client/*")
	owned := verify.Owned(c.Tree)
	for _, p := range c.Glob("/etc/NetworkManager/system-connections/*") {
		if is, known := owned(p); known && !is {
			c.remove(p)
		}
	}
	c.remove("/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/pki/tls/private/localhost.key", "/etc/pki/tls/certs/localhost.crt",
		"/etc/pki/tls/private/postfix.key", "/etc/pki/tls/certs/postfix.pem", "/etc/cockpit/ws-certs.d/0-self-signed*")
}

// withoutProxy drops the settings of a proxy, which is of the build network.
func withoutProxy(l string) (string, bool) {
	if strings.HasPrefix(strings.TrimSpace(l), "#") || strings.HasPrefix(strings.TrimSpace(l), "//") {
		return l, true
	}
	return l, !regexp.MustCompile(`(?i)(Acquire::[a-z:]*Proxy[^:]*\s+"?https?:|\b(https?|ftp|all)_proxy\s*=|^\s*proxy\s*=\s*\S)`).MatchString(l)
}

// network removes what the image has learnt of the network it was built in.
func network(c *cleaner) {
	c.remove("/etc/udev/rules.d/70-persistent-net.rules", "/etc/udev/rules.d/*-persistent-cd.rules")
	for _, p := range c.Glob("/etc/systemd/network/*.link") {
		if regexp.MustCompile(`(?m)^\s*(MACAddress|PermanentMACAddress)=`).MatchString(c.Text(p)) {
			c.remove(p)
		}
	}
	c.rewrite("unbind", []string{"/etc/sysconfig/network-scripts/ifcfg-*"}, func(l string) (string, bool) {
		return l, !regexp.MustCompile(`^\s*(HWADDR|MACADDR|DHCP_HOSTNAME|HOSTNAME)=`).MatchString(l)
	})
	c.empty("/var/lib/dhcp", "/var/lib/dhcp3", "/var/lib/dhclient", "/var/lib/dhcpcd", "/var/lib/dhcpcd5", "/var/lib/dhcpd", "/var/lib/wicked")
	c.remove("/etc/dhcpcd.duid", "/var/lib/NetworkManager/*.lease", "/var/lib/NetworkManager/seen-bssids", "/var/lib/NetworkManager/timestamps", "/var/lib/NetworkManager/secret_key", "/var/lib/systemd/network/*.lease")
	if name := strings.TrimSpace(c.Text("/etc/hostname")); name != "" && name != "localhost" && c.regular("/etc/hostname") {
		c.do("name localhost in", "/etc/hostname", func() error { return c.Replace("/etc/hostname", []byte("localhost\n")) })
	}
	c.remove("/etc/hosts.backup.*", "/etc/HOSTNAME")
	if c.regular("/etc/hosts") {
		c.rewrite("remove hosts from", []string{"/etc/hosts"}, loopbackOnly)
	}
	// The build lends the image a resolver; the image's own waits beside it.
	if c.regular("/etc/resolv.conf") && !c.lent("/etc/resolv.conf") {
		c.rewrite("remove name servers from", []string{"/etc/resolv.conf"}, func(l string) (string, bool) {
			word, rest, _ := strings.Cut(strings.TrimSpace(l), " ")
			addr, err := netip.ParseAddr(strings.TrimSpace(rest))
			return l, !slices.Contains([]string{"nameserver", "search", "domain"}, word) || err == nil && addr.IsLoopback()
		})
	}
	c.truncate("/etc/resolvconf/resolv.conf.d/original", "/etc/resolvconf/resolv.conf.d/tail")
	c.remove("/var/lib/ntp/ntp.drift", "/var/lib/ntpsec/ntp.drift", "/var/lib/chrony/drift", "/var/lib/chrony/chrony.drift", "/var/lib/systemd/timesync/*")
}

func (c *cleaner) regular(p string) bool {
	info, err := c.Lstat(p)
	return err == nil && info.Mode().IsRegular()
}

// lent reports whether builder rightimage-disk has put a file in for the time of
// the build.
func (c *cleaner) lent(p string) bool {
	_, err := c.Lstat(path.Dir(p) + "/." + path.Base(p) + ".rightimage-saved")
	return err == nil
}

// loopbackOnly drops addresses that are not loopback, and names of the build
// machine from those that are.
func loopbackOnly(l string) (string, bool) {
	words := strings.Fields(l)
	if len(words) < 2 || strings.HasPrefix(words[0], "#") {
		return l, true
	}
	addr, err := netip.ParseAddr(words[0])
	if err != nil || addr.IsMulticast() || strings.HasPrefix(words[0], "fe00::") {
		return l, true
	}
	if !addr.IsLoopback() {
		return "", false
	}
	var names []string
	for _, n := range words[1:] {
		first, _, _ := strings.Cut(strings.ToLower(n), ".")
		if strings.HasPrefix(first, "localhost") || strings.HasPrefix(n, "ip6-") || strings.HasPrefix(n, "ipv6-") {
			names = append(names, n)
		}
	}
	switch {
	case len(names) == len(words)-1:
		return l, true
	case len(names) == 0:
		return "", false
	}
	return words[0] + "\t" + strings.Join(names, " "), true
}

// cloudInit makes cloud-init think that it has never run.
func cloudInit(c *cleaner) {
	c.remove("/var/lib/cloud/instance")
	c.empty("/var/lib/cloud/instances", "/var/lib/cloud/data", "/var/lib/cloud/sem", "/var/lib/cloud/seed", "/var/lib/cloud/handlers",
		"/var/lib/cloud/scripts/per-boot", "/var/lib/cloud/scripts/per-instance", "/var/lib/cloud/scripts/per-once")
	c.remove("/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init*", "/etc/NetworkManager/system-connections/cloud-init-*", "/etc/systemd/network/10-cloud-init-*",
		"/etc/ssh/sshd_config.d/50-cloud-init.conf", "/var/log/cloud-init*.log")
	c.remove("/etc/cloud/cloud.cfg.d/99-installer.cfg", "/etc/cloud/cloud.cfg.d/90-installer-network.cfg", "/etc/cloud/cloud.cfg.d/*subiquity*")
	c.rewrite("remove cloud-init's lines from", []string{"/etc/fstab"}, func(l string) (string, bool) { return l, !strings.Contains(l, "comment=cloudconfig") })
	for _, p := range []string{"/etc/fstab", "/etc/crontab"} {
		if text := c.Text(p); text != "" && !strings.HasSuffix(text, "\n") {
			c.do("end the last line of", p, func() error { return c.Replace(p, []byte(c.Text(p)+"\n")) })
		}
	}
}

// machine removes what must differ on each machine.
func machine(c *cleaner) {
	c.remove("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/random-seed", "/var/lib/misc/random-seed", "/var/lib/seedrng/*",
		"/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed", "/var/lib/systemd/credential.secret")
	c.remove("/etc/nvme/hostid", "/etc/nvme/hostnqn", "/etc/multipath/bindings", "/etc/multipath/wwids", "/etc/lvm/devices/system.devices", "/etc/lvm/cache/.cache", "/etc/blkid.tab*",
		"/var/lib/yum/uuid", "/etc/smolt/*uuid", "/var/lib/docker/engine-id", "/etc/docker/key.json", "/var/lib/mysql/auto.cnf", "/var/lib/rabbitmq/.erlang.cookie")
	c.rewrite("blank the id in", []string{"/etc/popularity-contest.conf"}, func(l string) (string, bool) { return l, !strings.HasPrefix(l, "MY_HOSTID=") })
	if c.Exists("/usr/lib/open-iscsi/startup-checks.sh") || c.Exists("/usr/lib/systemd/system/iscsi-init.service") {
		c.remove("/etc/iscsi/initiatorname.iscsi")
	}
	const id, bus = "/etc/machine-id", "/var/lib/dbus/machine-id"
	if text := strings.TrimSpace(c.Text(id)); text != "" && text != "uninitialized" {
		c.do("empty", id, func() error { return c.Truncate(id) })
	}
	if info, err := c.Lstat(bus); err == nil && info.Mode().IsRegular() {
		if c.Exists(id) {
			c.do("link to "+id, bus, func() error {
				if err := c.Remove(bus); err != nil {
					return err
				}
				return c.Symlink(id, bus)
			})
		} else {
			c.remove(bus)
		}
	}
}

// packages empties the caches and keeps the directories that package tools
// expect.
func packages(c *cleaner) {
	if c.o.KeepPackageCache {
		return
	}
	c.files("/var/cache/apt/archives", "/var/lib/apt/lists", "/var/cache/yum", "/var/cache/dnf", "/var/cache/zypp", "/var/cache/apk", "/var/cache/snapd", "/var/cache/pacman/pkg")
	c.remove("/var/cache/apt/*.bin", "/var/lib/rpm/__db.*")
}

// temporary removes what the build, editors and crashed programs left.
func temporary(c *cleaner) {
	c.empty("/tmp", "/var/tmp", "/mnt", "/media", "/run/cloud-init")
	c.empty("/var/crash", "/var/log/dump", "/var/spool/abrt", "/var/lib/systemd/coredump", "/var/lib/apport/coredump", "/opt/rightscale/crash")
	c.dumps()
	c.remove("/root/anaconda-ks.cfg", "/root/original-ks.cfg", "/root/initial-setup-ks.cfg", "/root/install.log*", "/var/log/anaconda", "/var/log/installer", "/preseed.cfg", "/root/autoinst.xml", "/var/adm/autoinstall")
	c.remove("~/.cache", "~/.gemrc", "~/.ansible", "~/.local/share/Trash")
	c.files("/var/lib/mlocate", "/var/lib/plocate")
	c.mail()
	owned := verify.Owned(c.Tree)
	litter := regexp.MustCompile(`(~|\.(bak|swp|swo|orig|rpmsave|rpmnew|dpkg-old|dpkg-dist|dpkg-bak|ucf-old))$|^packer-|^script_.*\.sh$`)
	for _, dir := range []string{"/root", "/home", "/etc"} {
		c.below(dir, func(p string, info fs.FileInfo) {
			if is, _ := owned(p); info.Mode().IsRegular() && litter.MatchString(path.Base(p)) && !is {
				c.do("remove", p, func() error { return c.Remove(p) })
			}
		})
	}
}

// dumps removes dumps of memory, wherever they lie. Other things are named core
// as well, so that their content decides.
func (c *cleaner) dumps() {
	var mu sync.Mutex
	var found []string
	c.Walk(runtime.GOMAXPROCS(0), func(_ int, e *tree.Entry) bool {
		name := path.Base(e.Path)
		if e.Regular() && (name == "core" || strings.HasPrefix(name, "core.") || strings.HasPrefix(name, "vmcore")) {
			if f, err := e.Open(); err == nil {
				if verify.IsDump(f) {
					mu.Lock()
					found = append(found, e.Path)
					mu.Unlock()
				}
				_ = f.Close() // only read
			}
		}
		return true
	}, func(string, error) {})
	slices.Sort(found)
	for _, p := range found {
		c.do("remove", p, func() error { return c.Remove(p) })
	}
}

// mail empties mailboxes and queues; directories, pipes and sockets stay.
func (c *cleaner) mail() {
	c.truncate("/var/mail/*", "/var/spool/mail/*")
	for _, q := range []string{"incoming", "active", "deferred", "defer", "hold", "corrupt", "bounce", "flush", "trace", "maildrop"} {
		c.files("/var/spool/postfix/" + q)
	}
	c.files("/var/spool/exim4/input", "/var/spool/exim4/msglog", "/var/spool/mqueue")
	c.files("/var/spool/cron/crontabs", "/var/spool/at")
	for _, p := range c.Glob("/var/spool/cron/*") {
		if c.regular(p) {
			c.remove(p)
		}
	}
}

// histories removes what people typed.
func histories(c *cleaner) {
	c.remove("~/.*_history", "~/.zhistory", "~/.local/share/fish/fish_history", "~/.mongosh", "~/.lesshst", "~/.viminfo", "~/.vim", "~/.local/state/nvim", "~/.wget-hsts", "~/.config/htop")
}

// logs empties live logs, since some programs make no new ones, and deletes
// rotated logs and journals.
func logs(c *cleaner) {
	rotated := regexp.MustCompile(`(\.(gz|xz|bz2|zst|old|\d+)|-\d{8}(\.\w+)?|\.journal~?)$`)
	c.below("/var/log", func(p string, info fs.FileInfo) {
		name := path.Base(p)
		switch {
		case !info.Mode().IsRegular() || name == "README" || name == ".gitkeep":
		case rotated.MatchString(name) || strings.HasPrefix(p, "/var/log/journal/"):
			c.do("remove", p, func() error { return c.Remove(p) })
		case info.Size() > 0:
			c.do("empty", p, func() error { return c.Truncate(p) })
		}
	})
	c.empty("/var/log/journal") // its directory is named after the old machine id
	c.truncate("/var/account/pacct")
	c.remove("/var/lib/rsyslog/imjournal.state", "/var/lib/logrotate/status", "/var/lib/logrotate/logrotate.status", "/var/lib/logrotate.status")
}
