// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/internal/fetch"
	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

const (
	// bound is what the shortest documented bound allows a stage, and some time
	// for a busy machine.
	bound = 180 * time.Second
	// enrolTime is how long stage rightlink may try.
	enrolTime = 8 * time.Second
)

// order is that of a boot.
func order() []string { return []string{"key", "rightimage", "rightboot", "rightscale", "rightlink"} }

// fault is one thing that goes wrong.
type fault struct {
	name string
	// stage meets the fault; those before it must not notice.
	stage string
	spoil func(m *machine)
	// says is part of what the machine tells about it.
	says string
	want status.Result // failed when empty
	// slow ones take minutes, in which they wait.
	slow bool
}

func metadataFaults() []fault {
	spoil := func(a answer) func(*machine) { return func(m *machine) { m.metadata.spoil(a) } }
	return []fault{
		{name: "metadata service away, key", stage: "key", spoil: func(m *machine) { m.metadataURL = "http://127.0.0.1:1" }, says: "connection refused", slow: true},
		{name: "metadata service hangs, key", stage: "key", spoil: spoil(hang), says: "deadline exceeded", slow: true},
		{name: "metadata service fails, user-data", stage: "rightimage", spoil: spoil(at("user-data", code(500))), says: "status 500", slow: true},
		{name: "metadata service drips, user-data", stage: "rightimage", spoil: spoil(at("user-data", drip)), says: "user-data", slow: true},
		{name: "metadata service fails, instance id", stage: "rightboot", spoil: spoil(at("instance-id", code(503))), says: "status 503", slow: true},
		{name: "user-data without end", stage: "rightimage", spoil: spoil(at("user-data", endless)), says: "answer of more than"},
		{name: "user-data with redirects", stage: "rightimage", spoil: spoil(at("user-data", circle)), says: "status 302"},
		{name: "user-data of a captive portal", stage: "rightimage", spoil: spoil(at("user-data", text("<html>log in</html>"))), says: "no platform settings", want: status.Dormant},
		{name: "user-data cut off", stage: "rightimage", spoil: spoil(at("user-data", text("RS_rn_id=1&RS_rn_au"))), says: "incomplete", want: status.Dormant},
	}
}

func mirrorFaults() []fault {
	spoil := func(a answer) func(*machine) { return func(m *machine) { m.mirror.spoil(a) } }
	move := func(address string) func(*machine) { return func(m *machine) { m.mirrors = address } }
	https := func(dates func() (from, to time.Time)) func(*machine) {
		return func(m *machine) {
			var ca string
			m.mirrors, ca = secured(m.t, m.mirror, first(dates()), second(dates()))
			m.write("etc/rightscale.d/mirror/ca.pem", ca)
		}
	}
	return []fault{
		{name: "mirror away", spoil: move("http://127.0.0.1:1"), says: "connection refused"},
		{name: "mirror without a name service", spoil: move("https://mirror.invalid/rightlink"), says: "lookup mirror.invalid", slow: true},
		{name: "mirror fails", spoil: spoil(code(503)), says: "503 Service Unavailable"},
		{name: "mirror hangs", spoil: spoil(hang), says: "timeout awaiting response headers", slow: true},
		{name: "mirror drips", spoil: spoil(drip), says: fetch.ErrStalled.Error(), slow: true},
		{name: "mirror is a captive portal", spoil: spoil(text("<html>log in</html>")), says: "metadata refused"},
		{name: "mirror redirects in a circle", spoil: spoil(circle), says: "more than 5 redirects"},
		{name: "mirror stale", spoil: stale, says: "timestamp.json expired on"},
		{name: "mirror rolled back", spoil: rolledBack, says: "a rollback"},
		{name: "mirror of another key", spoil: otherKey, says: "metadata refused"},
		{name: "package truncated", spoil: spoil(at(".tar.gz", half)), says: "unexpected EOF"},
		{name: "package with a wrong digest", spoil: wrongBytes, says: fetch.ErrDigest.Error()},
		{name: "package without end", spoil: spoil(at(".tar.gz", endless)), says: fetch.ErrTooLong.Error()},
		{name: "metadata without end", spoil: spoil(at("timestamp.json", endless)), says: fetch.ErrTooLong.Error()},
		{name: "package missing", spoil: spoil(at(".tar.gz", code(404))), says: "404 Not Found"},
		{name: "clock a year ahead, mirror", spoil: https(aYearAhead), says: "certificate has expired or is not yet valid"},
		{name: "clock a year behind, mirror", spoil: https(aYearBehind), says: "certificate has expired or is not yet valid"},
		{name: "disk full, cache", spoil: func(m *machine) { m.small("root/.rightscale", "4m") }, says: fetch.ErrSpace.Error()},
		{name: "disk full, programs", spoil: func(m *machine) { m.small("opt", "1m") }, says: "no space left on device"},
	}
}

func platformFaults() []fault {
	spoil := func(a answer) func(*machine) { return func(m *machine) { m.platform.spoil(a) } }
	move := func(server string) func(*machine) { return func(m *machine) { m.server.Store(&server) } }
	certified := func(dates func() (from, to time.Time), trusted bool) func(*machine) {
		return func(m *machine) {
			url, ca := secured(m.t, m.platform, first(dates()), second(dates()))
			server := strings.TrimPrefix(url, "https://")
			m.server.Store(&server)
			if trusted {
				m.write("etc/rightscale.d/ca.pem", m.read("etc/rightscale.d/ca.pem")+ca)
			}
		}
	}
	valid := func() (from, to time.Time) { return time.Now().Add(-time.Hour), time.Now().Add(time.Hour) }
	return []fault{
		{name: "platform away", spoil: move("127.0.0.1:1"), says: "connection refused"},
		{name: "platform without a name service", spoil: move("rs.invalid"), says: "rs.invalid"},
		{name: "platform hangs", spoil: spoil(hang), says: "gave up"},
		{name: "platform drips", spoil: spoil(drip), says: "gave up"},
		{name: "platform answers 401", spoil: spoil(code(401)), says: "401 Unauthorized"},
		{name: "platform answers 403", spoil: spoil(code(403)), says: "403 Forbidden"},
		{name: "platform answers 404", spoil: spoil(code(404)), says: "404 Not Found"},
		{name: "platform answers 429", spoil: spoil(code(429, "Retry-After", "3600")), says: "429 Too Many Requests"},
		{name: "platform answers 500", spoil: spoil(code(500)), says: "500 Internal Server Error"},
		{name: "platform answers 502", spoil: spoil(code(502)), says: "502 Bad Gateway"},
		{name: "platform answers 503", spoil: spoil(code(503)), says: "503 Service Unavailable"},
		{name: "platform redirects away from https", spoil: spoil(code(302, "Location", "http://127.0.0.1:1/api/oauth2")), says: "not an absolute https URL"},
		{name: "platform redirects in a circle", spoil: spoil(circle), says: "more than 5 redirects"},
		{name: "platform breaks off", spoil: spoil(half), says: "unexpected EOF"},
		{name: "platform is a captive portal", spoil: spoil(text("<html>log in</html>")), says: "not the JSON expected"},
		{name: "platform answers nothing", spoil: spoil(code(200)), says: "an enrolment that this agent does not know"},
		{name: "platform of another authority", spoil: certified(valid, false), says: "certificate signed by unknown authority"},
		{name: "clock a year ahead, platform", spoil: certified(aYearAhead, true), says: "certificate has expired or is not yet valid"},
		{name: "clock a year behind, platform", spoil: certified(aYearBehind, true), says: "certificate has expired or is not yet valid"},
	}
}

func first(a, _ time.Time) time.Time  { return a }
func second(_, b time.Time) time.Time { return b }

func stale(m *machine) {
	m.repo.Expiry.Timestamp = time.Second
	require.NoError(m.t, m.repo.Sign())
	m.repo.Expiry = repo.DefaultExpiry()
	time.Sleep(1100 * time.Millisecond)
}

// rolledBack has the machine see a state without the package, and then shows the
// older one that had it.
func rolledBack(m *machine) {
	old := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(m.repo.Dir, "metadata", "*"))
	require.NoError(m.t, err)
	for _, f := range files {
		old[filepath.Base(f)], err = os.ReadFile(f)
		require.NoError(m.t, err)
	}
	_, err = m.repo.Remove(release)
	require.NoError(m.t, err)
	results, told := m.stages(bound, "rightimage")
	require.Equal(m.t, status.Failed, results["rightimage"])
	require.Contains(m.t, told, "no fitting RightLink package")
	m.publish() // what it has again once it is healed
	m.mirror.spoil(func(w http.ResponseWriter, r *http.Request) bool {
		data, ok := old[filepath.Base(r.URL.Path)]
		if !ok {
			return at(".json", code(404))(w, r)
		}
		_, _ = w.Write(data)
		return true
	})
}

// otherKey makes the image trust another repository.
func otherKey(m *machine) {
	other, err := repo.Init(m.t.TempDir(), repo.Keys{Dir: filepath.Join(m.t.TempDir(), "keys")}, repo.DefaultExpiry())
	require.NoError(m.t, err)
	root, err := os.ReadFile(other.RootFile())
	require.NoError(m.t, err)
	m.write("etc/rightscale.d/mirror/root.json", string(root))
}

// wrongBytes are as many as those of the package.
func wrongBytes(m *machine) {
	m.mirror.spoil(at(".tar.gz", func(w http.ResponseWriter, r *http.Request) bool {
		data, err := os.ReadFile(filepath.Join(m.repo.Dir, filepath.FromSlash(r.URL.Path)))
		if err != nil {
			return false
		}
		data[len(data)/2] ^= 1
		_, _ = w.Write(data)
		return true
	}))
}

// small makes a folder of the machine a file system of its own that is too small.
func (m *machine) small(name, size string) {
	m.t.Helper()
	dir := filepath.Join(m.root, name)
	require.NoError(m.t, os.MkdirAll(dir, 0o700))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		m.t.Skip("cannot mount a small file system:", err)
	}
	m.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestFaults is the table. After each fault everything is healed and the machine
// boots again: it must become operational by itself.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs and waits for their time limits")
	}
	named := func(stage string, list []fault) []fault {
		for i := range list {
			list[i].stage = stage
		}
		return list
	}
	all := slices.Concat(metadataFaults(), named("rightimage", mirrorFaults()), named("rightlink", platformFaults()))
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			if f.slow && os.Getenv("RIGHTIMAGE_E2E") == "" {
				t.Skip(`waits for minutes; set RIGHTIMAGE_E2E=1 or use "make test"`)
			}
			t.Parallel()
			f.meet(newMachine(t))
		})
	}
}

func (f fault) meet(m *machine) {
	m.t.Helper()
	metadata, mirrors, server := m.metadataURL, m.mirrors, m.server.Load()
	trusted := map[string]string{}
	for _, name := range []string{"etc/rightscale.d/mirror/root.json", "etc/rightscale.d/ca.pem"} {
		trusted[name] = m.read(name)
	}
	f.spoil(m)
	want := f.want
	if want == "" {
		want = status.Failed
	}
	names := order()[:slices.Index(order(), f.stage)+1]
	if f.stage == "rightboot" {
		names = []string{f.stage} // the key is put in once for each instance id too
	}
	results, told := m.stages(bound, names...)
	for _, name := range names[:len(names)-1] {
		require.NotEqual(m.t, status.Failed, results[name], told)
	}
	require.Equal(m.t, want, results[f.stage], told)
	require.Contains(m.t, told, f.says)
	require.Equal(m.t, names[0] == "key" && f.stage != "key", m.login(), "the login key: %s", told)

	m.metadata.spoil(nil)
	m.mirror.spoil(nil)
	m.platform.spoil(nil)
	require.NoError(m.t, m.repo.Sign())
	for name, text := range trusted {
		m.write(name, text)
	}
	for _, dir := range []string{"root/.rightscale", "opt"} {
		_ = unix.Unmount(filepath.Join(m.root, dir), unix.MNT_DETACH) // only if it was made small
	}
	m.metadataURL, m.mirrors = metadata, mirrors
	m.server.Store(server)
	m.boot("boot-2")
	results, told = m.stages(bound, order()...)
	for _, name := range order() {
		require.Contains(m.t, []status.Result{status.OK, status.Skipped}, results[name], "the boot after the fault: %s", told)
	}
	require.True(m.t, m.login())
}
