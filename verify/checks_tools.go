// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"path"
	"regexp"
	"strings"
)

// toolChecks are about the credentials that tools keep.
func toolChecks() []*Check {
	return []*Check{
		{
			ID: "cred-platform-tools", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no credentials of other clouds, Kubernetes, Vault, Terraform, Pulumi or CI runners",
			Remedy: "delete the file, and revoke what is in it",
			rules: []rule{
				on(filled, "~/.config/gcloud/**", "~/.azure/**", "*.publishsettings", "~/.oci/**", "~/.kube/config", "/etc/kubernetes/*.conf", "/etc/kubernetes/pki/**/*.key",
					"/var/lib/kubelet/pki/**", "/etc/rancher/*/*.yaml", "/var/lib/rancher/*/server/token", "~/.vault-token", "~/.terraform.d/credentials.tfrc.json",
					"terraform.tfstate*", "*.tfvars", "~/.pulumi/credentials.json"),
				on(assigning("token"), "/etc/gitlab-runner/config.toml"),
				on(filled, "/opt/actions-runner/.credentials*", "~/actions-runner/.credentials*", "/home/*/.credentials*"),
			},
		},
		{
			ID: "cred-dev-tools", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no credentials of git, registries, package indexes or build tools",
			Remedy: "delete the file, or take user and password out of the URL",
			rules: []rule{
				on(filled, "~/.git-credentials", "~/.config/git/credentials", "~/.config/gh/hosts.yml", "~/.config/hub", "~/.gem/credentials"),
				on(netrc, "~/.netrc"),
				on(withPassword, "/**/.git/config", "~/.config/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.npmrc"),
				on(containing(`"(auth|identitytoken|registrytoken)"\s*:\s*"[^"]+"`), "~/.docker/config.json", "~/.dockercfg", "~/.config/containers/auth.json"),
				on(containing(`ECS_ENGINE_AUTH_DATA\s*=\s*\S`), "/etc/ecs/ecs.config"),
				on(npmrc, "~/.npmrc", "/etc/npmrc"),
				on(assigning("password"), "~/.pypirc"),
				on(assigning("token"), "~/.cargo/credentials*"),
				on(containing(`<(password|passphrase|privateKey)>[^<$\s][^<]*<`), "~/.m2/settings.xml"),
				on(containing(`"(password|token|[a-z.]+)"\s*:\s*"[^"]{8,}"|"password"\s*:`), "~/.composer/auth.json", "~/.config/composer/auth.json"),
				on(assigning("pass", "password", "token", "secret_access_key", "client_secret"), "~/.config/rclone/rclone.conf"),
			},
		},
		{
			ID: "cred-repo-auth", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no password or client key for package sources, and none in proxy settings",
			Remedy: "delete auth.conf, or the line of the proxy",
			rules: []rule{
				on(netrc, "/etc/apt/auth.conf", "/etc/apt/auth.conf.d/*"),
				on(withPassword, "/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/apt/apt.conf", "/etc/apt/apt.conf.d/*", "/etc/yum.repos.d/*", "/etc/yum.conf",
					"/etc/dnf/dnf.conf", "/etc/zypp/repos.d/*", "/etc/environment", "/etc/profile.d/*", "/etc/wgetrc", "~/.wgetrc", "~/.curlrc",
					"/etc/systemd/system/**", "/etc/systemd/system.conf.d/*", "/etc/default/*", "/etc/sysconfig/*", "/etc/apk/repositories"),
				on(repoSecret, "/etc/yum.repos.d/*", "/etc/yum.conf", "/etc/dnf/dnf.conf", "/etc/zypp/repos.d/*"),
			},
		},
		{
			ID: "cred-service-clients", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no passwords of databases, mail relays and the like",
			Remedy: "delete the file; instances get passwords when they are launched",
			rules: []rule{
				on(hasLines, "~/.pgpass", "~/.mylogin.cnf", "/etc/postfix/sasl_passwd*", "/etc/exim4/passwd.client"),
				on(assigning("password"), "~/.my.cnf", "/etc/mysql/debian.cnf", "~/.odbc.ini"),
				on(containing(`(?mi)^\s*password\s+\S`), "/etc/msmtprc", "~/.msmtprc"),
				on(containing(`(?mi)^\s*AuthPass\s*=\s*\S`), "/etc/ssmtp/ssmtp.conf"),
				on(containing(`(?m)^\s*requirepass\s+\S`), "/etc/redis/*.conf", "/etc/redis.conf", "/etc/valkey/*.conf"),
			},
		},
		{
			ID: "cred-net-secrets", Class: Disk, Severity: Blocker, Cleans: true,
			Pass:   "no passwords and keys of networks: Wi-Fi, VPN, PPP, mesh networks",
			Remedy: "delete the profile",
			rules: []rule{
				on(assigning("psk", "password", "private-key-password", "leap-password", "wep-key", "wep-key0"), "/etc/NetworkManager/system-connections/*"),
				on(filled, "/etc/sysconfig/network-scripts/keys-*", "/etc/openvpn/**/*.key", "/etc/swanctl/private/*", "/var/lib/tailscale/**", "/var/lib/zerotier-one/identity.secret"),
				on(assigning("password", "auth-key", "psk"), "/etc/netplan/*", "/etc/wpa_supplicant/*.conf"),
				on(assigning("privatekey", "presharedkey"), "/etc/wireguard/*.conf"),
				on(containing(`(?s)<(key|secret|tls-auth|tls-crypt)>\s*\S`), "/etc/openvpn/**/*.conf", "/etc/openvpn/**/*.ovpn"),
				on(pairedSecrets, "/etc/ipsec.secrets", "/etc/ppp/*-secrets"),
			},
		},
	}
}

// containing finds files whose text has a pattern.
func containing(pattern string) func(*file) {
	re := regexp.MustCompile(pattern)
	return func(x *file) {
		if !x.Regular() || x.Size > 4<<20 {
			return
		}
		for _, l := range x.lines(x.Path) {
			if re.MatchString(l.text) {
				x.line(l, "a secret")
				return
			}
		}
		if strings.Contains(pattern, "(?s)") && re.MatchString(x.text()) {
			x.found("a secret")
		}
	}
}

// hasLines finds files that say anything.
func hasLines(x *file) {
	if x.Regular() && len(x.lines(x.Path)) > 0 {
		x.found("%d lines", len(x.lines(x.Path)))
	}
}

// npmrc finds tokens; there, two slashes begin a registry and no comment.
func npmrc(x *file) {
	if x.Regular() && regexp.MustCompile(`(?m)^[^#;\n]*(_authToken|_password|_auth)\s*=\s*[^$\s]`).MatchString(x.text()) {
		x.found("a token")
	}
}

// netrc finds the word password, as in .netrc and apt's auth.conf.
func netrc(x *file) {
	if !x.Regular() {
		return
	}
	for _, l := range x.lines(x.Path) {
		if words := l.words(); len(words) >= 2 && strings.Contains(" "+strings.Join(words[:len(words)-1], " ")+" ", " password ") {
			x.line(l, "a password")
			return
		}
	}
}

// repoSecret finds passwords and client keys of repositories. A client key that
// a package has brought belongs to the distribution's own cloud client.
func repoSecret(x *file) {
	for _, l := range x.lines(x.Path) {
		switch name, value := l.setting(); {
		case value == "" || !x.Regular():
		case strings.EqualFold(name, "password"), strings.EqualFold(name, "proxy_password"):
			x.line(l, "sets %s", name)
		case strings.EqualFold(name, "sslclientkey"):
			if _, ours := x.owners().of(value); !ours && !below(value, "/etc/pki/rhui") && !strings.Contains(path.Base(x.Path), "rhui") {
				x.line(l, "the client key %s", value)
			}
		}
	}
}

// pairedSecrets finds entries with a secret between quotes or in the third
// column.
func pairedSecrets(x *file) {
	if !x.Regular() {
		return
	}
	for _, l := range x.lines(x.Path) {
		if strings.HasPrefix(l.text, "include ") {
			continue
		}
		if strings.Contains(l.text, `"`) || len(l.words()) >= 3 {
			x.line(l, "an entry with a secret")
			return
		}
	}
}
