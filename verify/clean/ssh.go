// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package clean

import (
	"path"
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify"
)

const (
	sshdConfig = "/etc/ssh/sshd_config"
	// sshdDropIn comes before every other drop-in: of several values the first
	// counts.
	sshdDropIn = "/etc/ssh/sshd_config.d/01-rightimage.conf"
)

// policy is what the SSH server of an image may take, and the values that are
// as good.
func policy() []struct {
	key, value string
	good       []string
	unset      string
} {
	return []struct {
		key, value string
		good       []string
		unset      string
	}{
		{"PasswordAuthentication", "no", []string{"no"}, "yes"},
		{"KbdInteractiveAuthentication", "no", []string{"no"}, "yes"},
		{"PermitRootLogin", "prohibit-password", []string{"no", "prohibit-password", "without-password", "forced-commands-only"}, "prohibit-password"},
		{"PermitEmptyPasswords", "no", []string{"no"}, "no"},
		{"HostbasedAuthentication", "no", []string{"no"}, "no"},
		{"IgnoreRhosts", "yes", []string{"yes", "shosts-only"}, "yes"},
		{"PermitUserEnvironment", "no", []string{"no"}, "no"},
		{"StrictModes", "yes", []string{"yes"}, "yes"},
	}
}

// ssh closes the ways in and removes every key.
func ssh(c *cleaner) {
	c.sshd()
	pwauth := regexp.MustCompile(`(?i)^(\s*ssh_pwauth\s*:\s*)['"]?(true|yes|1)['"]?\s*$`)
	c.rewrite("close ways in with", []string{"/etc/cloud/cloud.cfg", "/etc/cloud/cloud.cfg.d/*.cfg"}, func(l string) (string, bool) {
		return pwauth.ReplaceAllString(l, "${1}false"), true
	})
	c.remove("~/.rhosts", "~/.shosts", "/etc/hosts.equiv", "/etc/ssh/shosts.equiv")
	c.remove("~/.ssh/authorized_keys", "~/.ssh/authorized_keys2", "/etc/ssh/authorized_keys/*", "/etc/dropbear/authorized_keys", "/etc/dropbear/initramfs/authorized_keys", "/etc/dropbear-initramfs/authorized_keys")
	c.remove("~/.ssh/id_*", "~/.ssh/*.pem", "~/.ssh/identity", "~/.ssh/*.pub", "~/.ssh/known_hosts*", "~/.ssh/config", "~/.gnupg")
	c.remove("/etc/ssh/ssh_host_*", "/etc/ssh/*_host_*key*", "/etc/dropbear/*_host_key", "/etc/tinyssh/sshkeydir/*")
}

// sshd writes the values that are not as they should be into a drop-in, or into
// the file itself where it includes none.
func (c *cleaner) sshd() {
	installed, includes, values := verify.SSHPolicy(c.Tree)
	if !installed || !c.Exists(sshdConfig) {
		return
	}
	var lines []string
	for _, p := range policy() {
		is := values[strings.ToLower(p.key)]
		if is == "" {
			is = p.unset
		}
		ok := false
		for _, g := range p.good {
			ok = ok || is == g
		}
		if !ok {
			lines = append(lines, p.key+" "+p.value)
		}
	}
	if len(lines) == 0 {
		return
	}
	if includes && c.Exists(path.Dir(sshdDropIn)) && strings.Contains(c.Text(sshdConfig), "sshd_config.d") {
		text := "# Written when the image was cleaned: keys are the only way in.\n" + strings.Join(lines, "\n") + "\n"
		if old := c.Text(sshdDropIn); old != "" {
			text = strings.Join(lines, "\n") + "\n" + old
		}
		c.do("write", sshdDropIn, func() error { return c.Create(sshdDropIn, []byte(text), 0o600) })
		return
	}
	text := strings.Join(lines, "\n") + "\n" + c.Text(sshdConfig) // the first value counts
	c.do("close ways in with", sshdConfig, func() error { return c.Replace(sshdConfig, []byte(text)) })
}
