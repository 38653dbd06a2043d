// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package clean

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// agents removes what agents know of this machine; their programs stay.
func agents(c *cleaner) {
	c.files("/var/lib/rightscale", "/var/lib/rightscale-identity", "/var/lib/rightlink", "/var/spool/rightlink", "/var/spool/rightscale", "/var/cache/rightscale", "/etc/rightscale.d/right_link")
	c.files("/var/spool/cloud", "/opt/rightscale/right_link/certs")
	c.remove("/home/rightscale/.ssh/*", "/var/log/rightlink.log", "/etc/cron.d/rightlink-upgrade")
	c.files("/var/lib/amazon/ssm", "/var/log/amazon/ssm")
	c.empty("/opt/aws/amazon-cloudwatch-agent/logs", "/var/awslogs", "/opt/codedeploy-agent/deployment-root", "/var/lib/ecs/data")
	c.remove("/etc/codedeploy-agent/conf/codedeploy.onpremises.yml")
	c.remove("/etc/chef/client.pem", "/etc/chef/validation.pem", "/etc/chef/*-validator.pem", "/etc/chef/encrypted_data_bag_secret",
		"/etc/puppetlabs/puppet/ssl/private_keys/*", "/var/lib/puppet/ssl/private_keys/*", "/etc/puppet/ssl/private_keys/*",
		"/etc/salt/pki/minion/*", "/etc/salt/minion_id", "/var/ossec/etc/client.keys", "/etc/tenable_tag")
	c.remove("/etc/pki/consumer/*", "/etc/pki/entitlement/*", "/var/lib/rhsm/cache/*", "/etc/sysconfig/rhn/systemid", "/etc/insights-client/machine-id",
		"/etc/SUSEConnect", "/etc/zypp/credentials.d/*", "/var/lib/ubuntu-advantage/private/*")
}

// accounts removes the accounts that the operator names, then rules of sudo for
// nobody, then passwords, and last the backups that the tools of accounts make.
func accounts(c *cleaner) {
	for _, name := range c.o.RemoveUsers {
		c.removeUser(name)
	}
	c.sudoers()
	c.rewrite("lock passwords in", []string{"/etc/shadow"}, lockPassword)
	c.rewrite("lock passwords in", []string{"/etc/gshadow"}, func(l string) (string, bool) {
		f := strings.Split(l, ":")
		if len(f) >= 2 && f[0] != "" && f[1] == "" {
			f[1] = "!"
		}
		return strings.Join(f, ":"), true
	})
	c.rewrite("lock passwords in", []string{"/etc/passwd"}, func(l string) (string, bool) {
		f := strings.Split(l, ":")
		if len(f) == 7 && f[0] != "" && f[0][0] != '+' && (f[1] == "" || strings.HasPrefix(f[1], "$")) {
			f[1] = "!"
		}
		return strings.Join(f, ":"), true
	})
	c.remove("/etc/shadow-", "/etc/gshadow-", "/etc/passwd-", "/etc/group-", "/etc/subuid-", "/etc/subgid-", "/etc/shadow.*", "/etc/gshadow.*",
		"/var/backups/*shadow*", "/var/backups/*passwd*")
}

// lockPassword drops hashes and locks empty fields. What is locked stays as it
// is.
func lockPassword(l string) (string, bool) {
	f := strings.Split(l, ":")
	if len(f) < 2 || f[0] == "" {
		return l, true
	}
	switch bare := strings.TrimLeft(f[1], "!*"); {
	case f[1] == "":
		f[1] = "!"
	case strings.HasPrefix(bare, "$"), regexp.MustCompile(`^[./0-9A-Za-z]{13}$`).MatchString(bare):
		f[1] = "!"
	}
	return strings.Join(f, ":"), true
}

// removeUser takes an account out of the user database, with its home, jobs and
// mail.
func (c *cleaner) removeUser(name string) {
	if name == "root" || name == "" {
		return
	}
	home := ""
	for l := range strings.Lines(c.Text("/etc/passwd")) {
		if f := strings.Split(strings.TrimSpace(l), ":"); len(f) == 7 && f[0] == name {
			home = path.Clean("/" + f[5])
		}
	}
	without := func(l string) (string, bool) { return l, !strings.HasPrefix(l, name+":") }
	c.rewrite("remove "+name+" from", []string{"/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/subgid"}, without)
	c.rewrite("remove "+name+" from", []string{"/etc/group", "/etc/gshadow"}, func(l string) (string, bool) {
		f := strings.Split(l, ":")
		if len(f) < 4 {
			return l, true
		}
		if f[0] == name {
			return "", false
		}
		members := slices.DeleteFunc(strings.Split(f[3], ","), func(m string) bool { return m == name })
		f[3] = strings.Join(members, ",")
		return strings.Join(f, ":"), true
	})
	if strings.HasPrefix(home, "/home/") {
		c.remove(home)
	}
	c.remove("/var/spool/cron/"+name, "/var/spool/cron/crontabs/"+name, "/var/mail/"+name, "/var/spool/mail/"+name, "/etc/sudoers.d/"+name, "/etc/sudoers.d/90-"+name)
}

// sudoers deletes what cloud-init wrote, and drop-ins that are about accounts
// that do not exist alone.
func (c *cleaner) sudoers() {
	c.remove("/etc/sudoers.d/90-cloud-init-users")
	exists := map[string]bool{"ALL": true}
	for l := range strings.Lines(c.Text("/etc/passwd")) {
		name, _, _ := strings.Cut(l, ":")
		exists[name] = true
	}
	for _, p := range c.Glob("/etc/sudoers.d/*") {
		rules, gone := 0, 0
		for l := range strings.Lines(c.Text(p)) {
			words := strings.Fields(l)
			if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], "Defaults") || strings.HasSuffix(words[0], "_Alias") || strings.HasPrefix(words[0], "@") {
				continue
			}
			rules++
			if !exists[words[0]] && !strings.HasPrefix(words[0], "%") && !strings.Contains(l, "_Alias") {
				gone++
			}
		}
		if rules > 0 && rules == gone {
			c.remove(p)
			continue
		}
		if info, err := c.Lstat(p); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o337 != 0 {
			c.do("mode 0440 for", p, func() error { return c.Chmod(p, 0o440) })
		}
	}
}

// modes sets the modes that programs rely on, and the flag that lets SELinux
// label anew.
func modes(c *cleaner) {
	want := func(p string, mode fs.FileMode) {
		info, err := c.Stat(p)
		if err != nil || c.Virtual(p) {
			return
		}
		if info.Mode()&(fs.ModePerm|fs.ModeSticky) != mode {
			c.do("mode of", p, func() error { return c.Chmod(p, mode) })
		}
	}
	want("/tmp", fs.ModeSticky|0o777)
	want("/var/tmp", fs.ModeSticky|0o777)
	for _, p := range []string{"/etc/shadow", "/etc/gshadow"} {
		if info, err := c.Stat(p); err == nil && info.Mode().Perm()&^0o640 != 0 {
			want(p, info.Mode().Perm()&0o640)
		}
	}
	if info, err := c.Stat("/etc/sudoers"); err == nil && info.Mode().Perm()&0o337 != 0 {
		want("/etc/sudoers", 0o440)
	}
	if info, err := c.Lstat("/etc/resolv.conf"); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o022 != 0 {
		want("/etc/resolv.conf", 0o644)
	}
	enforcing := regexp.MustCompile(`(?mi)^\s*SELINUX\s*=\s*enforcing`).MatchString(c.Text("/etc/selinux/config"))
	wrote := slices.ContainsFunc(c.result.Changes, func(ch Change) bool { return ch.Action != "remove" && ch.Action != "empty" })
	if enforcing && wrote && !c.Exists("/.autorelabel") {
		c.do("create", "/.autorelabel", func() error { return c.Create("/.autorelabel", nil, 0o644) })
	}
}
