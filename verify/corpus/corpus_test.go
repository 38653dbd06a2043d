// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/clean"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
	"github.com/rightimage/packer-plugin-rightimage/verify/secrets"
)

// root makes the base tree with something planted in it.
func root(t testing.TB, plant corpus.Plant) string {
	// Not below a directory named like the test: near-misses look at paths.
	dir, err := os.MkdirTemp(t.TempDir(), "r")
	require.NoError(t, err)
	require.NoError(t, corpus.Base(dir))
	r := &corpus.Root{Dir: dir}
	if plant != nil {
		plant(r)
	}
	require.NoError(t, r.Err)
	return dir
}

func options() verify.Options {
	return verify.Options{
		Public: true, Now: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC),
		Needles: []secrets.Needle{{Name: "the build's password", Value: corpus.Needle}},
	}
}

func run(t testing.TB, dir string) *verify.Report {
	r, err := verify.Run(t.Context(), dir, options())
	require.NoError(t, err)
	return r
}

func of(r *verify.Report, check string) []verify.Finding {
	var out []verify.Finding
	for _, f := range r.Findings {
		if f.Check == check {
			out = append(out, f)
		}
	}
	return out
}

func TestBaseIsClean(t *testing.T) {
	r := run(t, root(t, nil))
	require.Empty(t, r.Findings)
}

func TestCases(t *testing.T) {
	cases := corpus.Cases()
	require.GreaterOrEqual(t, len(cases), 60)
	for _, c := range cases {
		t.Run(c.Check+"/"+c.Name, func(t *testing.T) {
			t.Parallel()
			require.NotNil(t, verify.Find(c.Check))
			require.NotEmpty(t, of(run(t, root(t, c.Defect)), c.Check), "the defect is not found")
			r := run(t, root(t, c.Near))
			require.Empty(t, of(r, c.Check), "the near-miss is reported")
		})
	}
}

// Every check of files has a case, but for those that name what is missing here.
func TestEveryCheckHasACase(t *testing.T) {
	has := map[string]bool{"pkg-vulnerable": true}
	for _, c := range corpus.Cases() {
		has[c.Check] = true
	}
	for _, c := range verify.Checks() {
		if c.Class == verify.Disk {
			require.True(t, has[c.ID], c.ID)
		}
	}
}

// What the clean-up promises to repair is gone after it, a second run changes
// nothing, and the image still has what it boots with.
func TestClean(t *testing.T) {
	left := map[string]bool{ // people decide on these, or rebuild
		"cred-authorized-keys/a home without an account": true, "cred-authorized-keys/in the initramfs": true,
		"cred-aws/a key in a script": true, "cred-aws/a secret in a unit": true, "cred-platform-tools/a service account": true,
		"cred-dev-tools/a remote with a password": true, "cred-service-clients/mysql": true, "cred-net-secrets/WireGuard": true,
		"cred-tls-keys/a server's key": true, "cred-repo-auth/a proxy": true, "cred-directory-join/a bind password": true,
		"id-mac-pins/netplan": true, "acc-sshd-trust/no sftp": true, "acc-sshd-password-auth/a Match block": true, "id-host-uuids/iscsi": true,
		"fs-modes/everybody may write": true, "fs-vcs-trees/git": true, "fs-vcs-trees/etckeeper": true, "fs-fstab-sane/twice": true,
		"fs-selinux-labels/not labelled": true, "net-time-sync/a server of the build network": true, "net-time-sync/two clients": true, "net-time-sync/a zone": true,
		"pkg-cache-db/half-installed": true, "agent-aws-other/ECS": true, "agent-third-party/Datadog": true, "acc-phone-home/a job": true, "acc-phone-home/logs": true,
	}
	for _, c := range corpus.Cases() {
		if !verify.Find(c.Check).Cleans {
			continue
		}
		name := c.Check + "/" + c.Name
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := root(t, c.Defect)
			dry, err := clean.Run(t.Context(), dir, clean.Options{DryRun: true, FreeSpace: clean.None})
			require.NoError(t, err)
			if !left[name] {
				require.NotEmpty(t, of(run(t, dir), c.Check), "a dry run changes nothing")
			}
			first, err := clean.Run(t.Context(), dir, clean.Options{FreeSpace: clean.None})
			require.NoError(t, err)
			require.Equal(t, dry.Changes, first.Changes)
			second, err := clean.Run(t.Context(), dir, clean.Options{FreeSpace: clean.None})
			require.NoError(t, err)
			require.Empty(t, second.Changes)
			if !left[name] {
				require.Empty(t, of(run(t, dir), c.Check))
			}
			for _, p := range []string{"boot/grub/grub.cfg", "etc/fstab", "etc/passwd", "usr/sbin/sshd", "etc/ssh/sshd_config", "etc/machine-id", "opt/rightscale/bin/bootstrap"} {
				require.FileExists(t, filepath.Join(dir, p))
			}
		})
	}
}
