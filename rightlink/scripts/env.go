// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"maps"
	"os"
	"runtime"
	"sort"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/spool"
)

// Machine is what every script of a run may know about the machine.
type Machine struct {
	Identity identity.Identity
	Spool    spool.Data
	SelfHref string
	Distro   string
	// Rebooted is true if this is not the first boot of the instance.
	Rebooted bool
	// Env are the variables that programs on this machine have set for all
	// scripts.
	Env map[string]string
	// DecommissionReason is reboot, stop or terminate while decommissioning.
	DecommissionReason string
}

// linkLocal are the addresses that no proxy may see.
const linkLocal = "169.254.0.0/16,169.254.169.254,169.254.169.253"

// Env is the environment of one script. Later entries override earlier ones:
// the agent's own basics, metadata, user-data, the variables of the local API,
// the script's inputs, and last what RightLink itself says. The variables of RightLink 6 and 10 are merged.
// The enrolment token is in none of them, under whatever name: a script that
// calls the platform does so through the agent.
func Env(m Machine, s wire.RightScript, packages, attachDir string, alreadyRun bool) []string {
	env := map[string]string{
		"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "SHELL": "/bin/sh", "USER": "root",
	}
	for name := range env {
		if v := os.Getenv(name); v != "" {
			env[name] = v
		}
	}
	token := m.Identity.ClientSecret.Reveal()
	for _, vars := range []map[string]string{m.Spool.Metadata, m.Spool.UserData} {
		for name, value := range vars {
			if !spool.Hidden(name) && (token == "" || !strings.Contains(value, token)) {
				env[name] = value
			}
		}
	}
	maps.Copy(env, m.Env)
	for name, value := range s.Parameters {
		if name != "" && !strings.ContainsAny(name, "=\x00") && !strings.ContainsRune(value, 0) {
			env[name] = value
		}
	}
	for name, value := range own(m, packages, attachDir, alreadyRun) {
		if value != "" {
			env[name] = value
		} else {
			delete(env, name) // unset is really absent
		}
	}
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	sort.Strings(list)
	return list
}

// own returns RightLink's variables; an empty value means absent.
func own(m Machine, packages, attachDir string, alreadyRun bool) map[string]string {
	yes := func(b bool) string {
		if b {
			return "true"
		}
		return ""
	}
	vars := map[string]string{
		"RS_ATTACH_DIR": attachDir, "ATTACH_DIR": attachDir,
		"RS_ALREADY_RUN": yes(alreadyRun), "RS_REBOOT": yes(m.Rebooted),
		"RS_DISTRO": m.Distro, "RS_DIST": m.Distro, "RS_ARCH": Arch(runtime.GOARCH),
		"RS_CLOUD_PROVIDER": m.Spool.Cloud, "RS_PUBLIC_IP": m.Spool.PublicIP(), "RS_PRIVATE_IP": m.Spool.PrivateIP(),
		"RS_SELF_HREF": m.SelfHref, "RS_PACKAGES": packages, "DECOM_REASON": m.DecommissionReason,
		"client_id": m.Identity.ClientID, "account": m.Identity.Account, "api_hostname": m.Identity.APIHostname,
	}
	if proxy := m.Identity.HTTPProxy; proxy != "" {
		if !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		no := linkLocal
		if m.Identity.NoProxy != "" {
			no = m.Identity.NoProxy + "," + linkLocal
		}
		for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
			vars[name] = proxy
		}
		vars["no_proxy"], vars["NO_PROXY"] = no, no
	}
	return vars
}

// Arch is the architecture as scripts know it: RightLink 6 says i386, x86_64
// or unknown; we add the kernel's names of others.
func Arch(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return "unknown"
}

// Distro reads the distribution's name in lower case from os-release.
func Distro(root paths.Root) string {
	text, err := os.ReadFile(root.OSRelease())
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "ID="); ok {
			return strings.ToLower(strings.Trim(value, `"'`))
		}
	}
	return ""
}

// Packages is the union of the packages of all scripts, in order.
func Packages(scripts []wire.RightScript) []string {
	var union []string
	seen := map[string]bool{}
	for _, s := range scripts {
		for _, name := range strings.Fields(s.Packages) {
			if !seen[name] {
				seen[name] = true
				union = append(union, name)
			}
		}
	}
	return union
}
