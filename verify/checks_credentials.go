// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"path"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

// credentialChecks are about keys and secrets, wherever they lie.
func credentialChecks() []*Check {
	return []*Check{
		{
			ID: "cred-authorized-keys", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no file of authorized keys holds a key, for any account, in the initramfs either",
			Remedy: "delete the file; rebuild the initramfs when the key is in it",
			rules:  []rule{on(authorizedKeys, "authorized_keys", "authorized_keys2", "/etc/dropbear-initramfs/authorized_keys")},
			whole:  initramfsKeys,
		},
		{
			ID: "cred-user-keypairs", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no home holds SSH key pairs or GnuPG secret keys; known_hosts and config are warnings",
			Remedy: "empty .ssh and remove .gnupg",
			rules: []rule{
				on(filled, "~/.ssh/id_*", "~/.ssh/*.pem", "~/.ssh/identity", "~/.ssh/*.pub", "~/.gnupg/private-keys-v1.d/*", "~/.gnupg/secring.gpg"),
				on(namesHosts, "~/.ssh/config", "~/.ssh/known_hosts*"),
			},
		},
		{
			ID: secrets.KeyCheck, Class: Disk, Severity: Blocker,
			Pass:   "no private key in any file: PEM, OpenSSH, PGP, PuTTY, age, key stores, in UTF-16 too",
			Remedy: "remove the key and replace it where it is used",
			rules:  []rule{on(keyStore, "*.p12", "*.pfx", "*.jks", "*.keystore")},
		},
		{
			ID: secrets.NeedleCheck, Class: Disk, Severity: Blocker,
			Pass:   "none of the secrets that this build was given is in a file, a name or an attribute: plain, base64, URL-encoded or UTF-16",
			Remedy: "rebuild without the secret, and replace it",
			rules:  []rule{on(needleName, "/**")},
		},
		{
			ID: secrets.AWSCheck, Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no AWS credentials; a key id without its secret is a warning",
			Remedy: "delete the file, and deactivate the key",
			rules: []rule{
				on(filled, "~/.aws/credentials", "~/.aws/cli/cache/*", "~/.aws/sso/cache/*", "/etc/passwd-s3fs", "~/.passwd-s3fs"),
				on(assigning("aws_access_key_id", "aws_secret_access_key", "aws_session_token", "secret_key", "access_key", "credential_process"), "~/.aws/config", "/etc/boto.cfg", "~/.boto", "~/.s3cfg"),
				on(bundlingPair, "pk-*.pem", "cert-*.pem"),
			},
		},
		{
			ID: secrets.TokenCheck, Class: Disk, Severity: Blocker,
			Pass:   "no token of GitHub, GitLab, Slack, Google, Stripe, npm, PyPI, SendGrid, Vault or Docker; words such as password= are info",
			Remedy: "remove the token and revoke it",
		},
		{
			ID: "cred-histories", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no history of a shell, an editor or another tool",
			Remedy: "delete the file",
			rules:  []rule{on(filled, histories()...)},
		},
		{
			ID: "cred-tls-keys", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "no private TLS key but the distribution's self-signed ones",
			Remedy: "remove the key; instances need keys of their own",
			rules:  []rule{on(tlsKey, tlsPaths()...)},
		},
		{
			ID: "cred-shared-selfsigned", Class: Disk, Severity: Warning, Public: true, Cleans: true,
			Pass:   "no self-signed key of the build host, which all instances would share",
			Remedy: "delete the pair, and let the first boot make a new one",
			rules:  []rule{on(hasKey, selfSigned()...)},
		},
		{
			ID: "cred-directory-join", Class: Disk, Severity: Blocker, Public: true, Cleans: true,
			Pass:   "not joined to a directory: no keytab, no sssd or samba secrets, no bind password",
			Remedy: "leave the directory before the image is made; delete keytabs and caches",
			rules: []rule{
				on(filled, "*.keytab", "/tmp/krb5cc_*", "/var/lib/sss/db/**", "/var/lib/sss/secrets/**", "/var/lib/samba/private/secrets.tdb",
					"/etc/ipa/default.conf", "/etc/ipa/ca.crt", "/var/lib/ipa-client/**", "/etc/ldap.secret"),
				on(assigning("ldap_default_authtok", "bindpw"), "/etc/sssd/sssd.conf", "/etc/nslcd.conf"),
			},
		},
	}
}

func histories() []string {
	return []string{
		"~/.*_history", "~/.zhistory", "~/.local/share/fish/fish_history", "~/.mongosh/**", "~/.lesshst", "~/.viminfo", "~/.vim/**",
		"~/.local/state/nvim/**", "~/.wget-hsts", "~/.config/htop/**",
	}
}

func tlsPaths() []string {
	return []string{
		"/etc/ssl/private/**", "/etc/pki/tls/private/**", "/etc/pki/CA/private/**", "/etc/letsencrypt/accounts/**", "/etc/letsencrypt/archive/**",
		"/etc/letsencrypt/live/**", "/etc/nginx/**/*.key", "/etc/apache2/**/*.key", "/etc/httpd/**/*.key", "/etc/haproxy/**/*.pem",
		"/etc/cockpit/ws-certs.d/*", "/etc/webmin/miniserv.pem", "/etc/dovecot/private/*",
	}
}

func selfSigned() []string {
	return []string{
		"/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/pki/tls/private/localhost.key", "/etc/pki/tls/private/postfix.key",
		"/etc/dovecot/private/*", "/etc/cockpit/ws-certs.d/0-self-signed*",
	}
}

func matchesAny(p string, patterns []string) bool {
	for _, pattern := range patterns {
		if matchPath(pattern, p) {
			return true
		}
	}
	return false
}

func authorizedKeys(x *file) {
	if !x.Regular() {
		return
	}
	if lines := x.lines(x.Path); len(lines) > 0 {
		x.found("%d keys", len(lines))
	}
}

func namesHosts(x *file) {
	if x.Regular() && x.Size > 0 {
		x.level(Warning, "names hosts")
	}
}

func keyStore(x *file) {
	if x.Regular() && x.Size > 0 && !x.owners().intact(x.Path) && !x.owners().recorded(x.Path) {
		x.found("a store of keys")
	}
}

// needleName looks for secrets of the build in names and attributes.
func needleName(x *file) {
	if len(x.engine.o.Needles) == 0 {
		return
	}
	seen := func(text []byte) (name string) {
		for _, n := range x.engine.o.Needles {
			if len(n.Value) >= secrets.MinNeedle && bytes.Contains(text, []byte(n.Value)) {
				return n.Name
			}
		}
		return ""
	}
	if n := seen([]byte(path.Base(x.Path))); n != "" {
		x.at(path.Dir(x.Path), "the name of an entry holds %s", n)
	}
	if !x.Regular() {
		return
	}
	for attribute, value := range x.Attributes() {
		if n := seen(value); n != "" {
			x.found("the attribute %s holds %s", attribute, n)
		}
	}
}

func bundlingPair(x *file) {
	if x.Regular() && strings.Contains(x.text(), "-----BEGIN") {
		x.found("part of a pair for bundling images")
	}
}

// tlsKey finds keys where servers have them.
func tlsKey(x *file) {
	if !matchesAny(x.Path, selfSigned()) {
		hasKey(x)
	}
}

func hasKey(x *file) {
	if text := x.text(); x.Regular() && (strings.Contains(text, "PRIVATE KEY-----") || strings.Contains(text, `"kty"`)) {
		x.found("a private key")
	}
}

// initramfsKeys looks for login keys and host keys in the initramfs.
func initramfsKeys(x *probe) {
	for _, p := range x.Glob("/boot/initrd*", "/boot/initramfs*") {
		list, err := x.initramfs(p)
		if err != nil {
			x.skip(p + ": " + err.Error())
			continue
		}
		for name, content := range list.kept {
			if strings.HasPrefix(path.Base(name), "authorized_keys") && len(parseLines(name, string(content))) > 0 {
				x.at(p, "%s in it holds keys", name)
			}
		}
	}
}

// secret tells what the scanner has found in a file.
func (x *file) secret(h secrets.Hit, text bool) {
	p := x.Path
	if h.Check != secrets.NeedleCheck && (x.owners().intact(p) || x.owners().recorded(p)) {
		return // as its package has brought it: a sample or a test key
	}
	where := "at byte %d"
	if h.Wide {
		where = "in UTF-16 at byte %d"
	}
	switch h.Check {
	case secrets.KeyCheck:
		if below(p, "/etc/ssh") && strings.Contains(path.Base(p), "_host_") || matchesAny(p, tlsPaths()) || matchesAny(p, selfSigned()) ||
			below(p, "/etc/pki/rhui", "/etc/dropbear", "/etc/tinyssh") {
			return // there is another check for it
		}
	case secrets.TokenCheck:
		if !text || x.Size > tokenLimit || below(p, "/usr/share", "/usr/lib/python3/dist-packages") || strings.Contains(p, "/doc/") {
			return
		}
		if h.Guess {
			if below(p, append([]string{"/etc", "/opt", "/srv", "/usr/local"}, x.homes...)...) {
				x.level(Info, "%s with a value, "+where, h.Kind, h.Offset)
			}
			return
		}
	case secrets.AWSCheck:
		if h.Weak {
			x.level(Warning, "%s, without its secret, "+where, h.Kind, h.Offset)
			return
		}
	}
	x.found("%s "+where, h.Kind, h.Offset)
}
