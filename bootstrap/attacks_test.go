// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What TUF names as attacks on an updater, as far as the machine meets them;
// internal/trust has those on the metadata.

// TestWrongSoftware: a mirror gives a file that is signed, and not the one that
// was asked for.
func TestWrongSoftware(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	m.add(t, debName(t, root, "0.1.0"), "vulnerable 0.1.0")
	m.add(t, debName(t, root, "0.2.0"), "the package 0.2.0")
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, debName(t, root, "0.2.0")) {
			return false
		}
		http.ServeFile(w, r, filepath.Join(m.repo.Dir, "0.1.0", debName(t, root, "0.1.0")))
		return true
	}
	m.trusting(t, root, m.URL)
	require.Contains(t, failing(t, root), "the file does not have its signed length and SHA-256")
	require.NoFileExists(t, filepath.Join(root, "root/.rightscale", debName(t, root, "0.2.0")))
}

// TestExtraneousDependencies: a mirror has more than what was asked for, all of
// it signed. One package is fetched, and one handed to dpkg, which gets no way
// to fetch others.
func TestExtraneousDependencies(t *testing.T) {
	newMetadata(t, query+"&RS_version=0.2.0")
	root := newPC(t)
	m := newMirror(t)
	for _, version := range []string{"0.1.9", "0.2.0", "0.2.0-needed", "0.3.0"} {
		m.add(t, debName(t, root, version), "the package "+version)
	}
	m.add(t, "rightscale_9.9.9-debian_12-amd64.deb", "a dependency")
	m.trusting(t, root, m.URL)
	out, run := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
	var fetched, installed []string
	for _, path := range m.seen {
		if strings.HasSuffix(path, ".deb") {
			fetched = append(fetched, path)
		}
	}
	for _, line := range run.argv {
		if strings.Contains(line, " -i ") || strings.Contains(line, "--install") || strings.HasPrefix(line, "apt") {
			installed = append(installed, line)
		}
	}
	require.Equal(t, []string{"/0.2.0/" + debName(t, root, "0.2.0")}, fetched)
	require.Len(t, installed, 1)
	require.Equal(t, 1, strings.Count(installed[0], ".deb"))
}

// TestMaliciousMirror: whatever the first mirror does, the second one is asked.
func TestMaliciousMirror(t *testing.T) {
	text := func(body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	only := func(suffix string, answer func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, suffix) && answer(w, r)
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"nothing but errors":    broken,
		"another page":          text("<html>log in</html>"),
		"metadata without end":  text(strings.Repeat(" ", 5<<20)),
		"timestamp of somebody": only("timestamp.json", text(`{"signed":{"_type":"timestamp"},"signatures":[]}`)),
		"other package":         only(".deb", text("pkh")),
		"package without end":   only(".deb", text("pkg and more")),
		"no package":            only(".deb", broken),
	} {
		t.Run(name, func(t *testing.T) {
			newMetadata(t, query+"&RS_version=0.2.0")
			root := newPC(t)
			m := newMirror(t)
			m.add(t, debName(t, root, "0.2.0"), "pkg")
			bad := mirrorOf(t, m.repo)
			bad.answer = answer
			m.trusting(t, root, bad.URL, m.URL)
			out, _ := do(t, root, "rightimage")
			require.Equal(t, "RightLink 0.2.0 installed", out.Detail)
			require.Equal(t, "pkg", read(t, root, "root/.rightscale/"+debName(t, root, "0.2.0")))
			require.Contains(t, read(t, root, "var/lib/rightscale/mirror/health.json"), bad.URL)
		})
	}
}

// TestUpdatesAfterTwoRotations: an instance that runs, and whose root of trust
// was replaced twice since, still follows its channel.
func TestUpdatesAfterTwoRotations(t *testing.T) {
	root, m := running(t, query+"&RS_version=stable")
	require.NoError(t, m.repo.Rotate("root", "targets", "snapshot", "timestamp"))
	m.add(t, debName(t, root, "0.2.0"), "good 0.2.0", "stable")
	require.NoError(t, m.repo.Rotate("root", "targets", "snapshot", "timestamp"))
	detail, err := upgradeTo(t, root, "")
	require.NoError(t, err)
	require.Equal(t, "RightLink 0.1.0 upgraded to 0.2.0", detail)
	require.Equal(t, "good 0.2.0", read(t, root, program))

	// The next update comes under the new root, which is remembered.
	m.add(t, debName(t, root, "0.3.0"), "good 0.3.0", "stable")
	boot(t, root, "boot-2")
	do(t, root, "rightboot")
	out, _ := do(t, root, "rightscale")
	require.Contains(t, strings.Join(out.Changed, "\n"), "RightLink 0.2.0 upgraded to 0.3.0")
}
