// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package paths names every file of the instance that the agent reads or
// writes, below one root directory, so that tests run the real agent in a
// temporary directory.
package paths

import (
	"os"
	"path/filepath"
	"strings"
)

// Root is the directory that all paths start from; "/" on an instance.
type Root string

// Join returns the path of name below the root.
func (r Root) Join(name ...string) string {
	return filepath.Join(append([]string{string(r)}, name...)...)
}

// Identity is the file with the enrolment token, written by bootstrap.
func (r Root) Identity() string { return r.Join("var/lib/rightscale-identity") }

// StateDir holds the agent's own state files.
func (r Root) StateDir() string { return r.Join("var/lib/rightscale/right_link") }

// State is the run state of the agent.
func (r Root) State() string { return filepath.Join(r.StateDir(), "state.js") }

// PastScripts lists the scripts that have succeeded on this machine.
func (r Root) PastScripts() string { return filepath.Join(r.StateDir(), "past_scripts.js") }

// Enrollment holds the options of the first enrolment.
func (r Root) Enrollment() string { return filepath.Join(r.StateDir(), "enrollment_state.js") }

// Session holds what the platform answered when the agent enrolled; no secret.
func (r Root) Session() string { return filepath.Join(r.StateDir(), "session.js") }

// EnrolmentKey holds the keys of an attested instance; nobody else reads it.
func (r Root) EnrolmentKey() string { return r.Join("var/lib/rightscale/enrolment/key") }

// Spool is where bootstrap caches user-data and metadata.
func (r Root) Spool() string { return r.Join("var/spool/cloud") }

// Attachments is the cache of attachments, by digest.
func (r Root) Attachments() string { return r.Join("var/spool/rightlink/attachments") }

// Scripts is where scripts run.
func (r Root) Scripts() string { return r.Join("var/spool/rightlink/scripts") }

// RunDir is the runtime directory, empty after a boot.
func (r Root) RunDir() string { return r.Join("run/rightlink") }

// Lock is held by the one running agent.
func (r Root) Lock() string { return filepath.Join(r.RunDir(), "lock") }

// Secret tells programs on this machine how to reach the local API; only root
// reads it. The path is that of RightLink 10, and rsc expects it.
func (r Root) Secret() string { return filepath.Join(r.RunDir(), "secret") }

// Vars holds what a boot remembers: variables of the local API.
func (r Root) Vars() string { return filepath.Join(r.RunDir(), "state") }

// Events lists the events taken, so that none is taken twice: not even a
// request to reboot whose acknowledgement got lost in the reboot.
func (r Root) Events() string { return filepath.Join(r.StateDir(), "events.js") }

// LoginPolicy is the newest policy of managed logins.
func (r Root) LoginPolicy() string { return filepath.Join(r.StateDir(), "login_policy.js") }

// LoginUsers lists the accounts that the agent has made.
func (r Root) LoginUsers() string { return filepath.Join(r.StateDir(), "login_users.js") }

// CA is an additional certificate authority for the platform.
func (r Root) CA() string { return r.Join("etc/rightscale.d/ca.pem") }

// Cloud is the hint file with the cloud's name.
func (r Root) Cloud() string { return r.Join("etc/rightscale.d/cloud") }

// Features is the agent's configuration.
func (r Root) Features() string { return r.Join("etc/rightscale.d/right_link/features.yml") }

// Bootstrap is the program that installs and upgrades the agent.
func (r Root) Bootstrap() string { return r.Join("opt/rightscale/bin/bootstrap") }

// OSRelease describes the distribution.
func (r Root) OSRelease() string { return r.Join("etc/os-release") }

// BootID returns the kernel's id of this boot, "" where there is none. A file
// below the root wins over the kernel's own, so that a test can reboot.
func (r Root) BootID() string { return r.kernel("proc/sys/kernel/random/boot_id") }

// Uptime returns the text of the kernel's uptime, "" where there is none.
func (r Root) Uptime() string { return r.kernel("proc/uptime") }

func (r Root) kernel(name string) string {
	for _, path := range []string{r.Join(name), "/" + name} {
		if text, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}
