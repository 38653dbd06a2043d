// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
)

func put(t *testing.T, root, name, content string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func boot(t *testing.T, root, id string) {
	t.Helper()
	put(t, root, "proc/sys/kernel/random/boot_id", id+"\n")
}

func check(t *testing.T, root, id string, want Kind) {
	t.Helper()
	kind, err := Check(root, id)
	if err != nil || kind != want {
		t.Fatalf("Check(%s) = %s, %v; want %s", id, kind, err, want)
	}
}

func exists(root, name string) bool {
	_, err := os.Lstat(filepath.Join(root, name))
	return err == nil
}

const (
	stateJS  = "var/lib/rightscale/right_link/state.js"
	identity = "var/lib/rightscale-identity"
)

// owned is what belongs to one instance.
func owned() []string {
	return []string{identity, "var/lib/rightscale/enrolment/key", stateJS, "var/lib/rightscale/right_link/past_scripts.js", "var/spool/cloud/user-data.raw",
		"var/spool/rightlink/attachments/x", "var/spool/rightlink/scripts/y/z", "run/rightlink/secret"}
}

func settle(t *testing.T, root, id string) {
	t.Helper()
	for _, f := range owned() {
		put(t, root, f, "{}")
	}
	put(t, root, stateJS, `{"value":"operational","uptime":12345678901234567890,"reboot":false,"last_observed_resource_uid":"`+id+`","x":{"y":[1]}}`)
	if err := status.Update(root, func(s *status.Status) error { s.SetInstance(id); s.End("rightscale", status.OK, "", nil); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestLifeOfAnInstance(t *testing.T) {
	root := t.TempDir()
	boot(t, root, "b1")
	check(t, root, "i-1", FirstBoot)
	settle(t, root, "i-1")
	check(t, root, "i-1", SameBoot)
	if flag(t, root) {
		t.Error("a second run in one boot is no reboot")
	}
	boot(t, root, "b2")
	check(t, root, "i-1", Reboot)
	if !flag(t, root) {
		t.Error("reboot is not flagged")
	}
	text, _ := os.ReadFile(filepath.Join(root, stateJS))
	for _, kept := range []string{`"uptime":12345678901234567890`, `"x":{"y":[1]}`, `"value":"operational"`} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("state.js lost %s: %s", kept, text)
		}
	}
	check(t, root, "i-1", SameBoot)
	put(t, root, stateJS, `{"value":"decommissioned","reboot":false,"decommission_type":"stop"}`)
	boot(t, root, "b3")
	check(t, root, "i-1", StopStart)
	if !flag(t, root) {
		t.Error("stop and start is not flagged")
	}
	for _, f := range owned() {
		if !exists(root, f) {
			t.Errorf("%s is gone", f)
		}
	}
}

func flag(t *testing.T, root string) bool {
	t.Helper()
	var s struct{ Reboot bool }
	text, err := os.ReadFile(filepath.Join(root, stateJS))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Reboot
}

func TestClone(t *testing.T) {
	for name, before := range map[string]func(*testing.T, string){
		"marker of another": func(t *testing.T, root string) {
			boot(t, root, "b1")
			check(t, root, "i-1", FirstBoot)
			settle(t, root, "i-1")
		},
		"status of another":        func(t *testing.T, root string) { settle(t, root, "i-1"); put(t, root, stateJS, "{}") },
		"agent's state of another": func(t *testing.T, root string) { settle(t, root, "i-1"); _ = os.Remove(status.Path(root)) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			before(t, root)
			put(t, root, "var/lib/rightscale/keep", "x")
			boot(t, root, "b2")
			check(t, root, "i-2", Cloned)
			for _, f := range owned() {
				if exists(root, f) {
					t.Errorf("%s is still there", f)
				}
			}
			if s, _ := status.Load(root); len(s.Stages) != 0 {
				t.Errorf("status is still there: %+v", s)
			}
			if !exists(root, "var/lib/rightscale/keep") || !exists(root, "var/spool/rightlink/scripts") {
				t.Error("too much was wiped")
			}
			check(t, root, "i-2", SameBoot)
		})
	}
}

// TestStatusOfThisInstanceIsKept: stage rightimage ran on the clone before.
func TestStatusOfThisInstanceIsKept(t *testing.T) {
	root := t.TempDir()
	boot(t, root, "b1")
	check(t, root, "i-1", FirstBoot)
	settle(t, root, "i-1")
	if err := status.Update(root, func(s *status.Status) error {
		s.SetInstance("i-2")
		s.End("rightimage", status.OK, "", nil)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	boot(t, root, "b2")
	check(t, root, "i-2", Cloned)
	if s, _ := status.Load(root); len(s.Stages) != 1 || exists(root, identity) {
		t.Errorf("%+v", s)
	}
}

// TestInterrupted: as long as the marker is not written the work is repeated.
func TestInterrupted(t *testing.T) {
	root := t.TempDir()
	boot(t, root, "b1")
	check(t, root, "i-1", FirstBoot)
	settle(t, root, "i-1")
	old, _ := os.ReadFile(markerPath(root))
	boot(t, root, "b2")
	check(t, root, "i-2", Cloned)
	put(t, root, identity, "half done")
	put(t, root, "var/lib/rightscale/instance.json", string(old))
	check(t, root, "i-2", Cloned)
	if exists(root, identity) {
		t.Error("not repeated")
	}
}

// Files that were being written when the power went are gone after the next
// boot; those that another stage writes just now stay.
func TestSweep(t *testing.T) {
	root := t.TempDir()
	boot(t, root, "b1")
	left := []string{
		"var/lib/rightscale/right_link/.state.js.tmp-546999562", "var/lib/rightscale/.status.json.tmp-1",
		"var/lib/.rightscale-identity.tmp-77", "etc/.hosts.tmp-3",
	}
	stay := []string{"var/lib/rightscale/.status.json.tmp-2", "var/lib/rightscale/.mine.tmp", "var/lib/.x.tmp-1y", "etc/hosts.tmp-4"}
	for _, name := range append(left, stay...) {
		put(t, root, name, "half")
		if name != stay[0] {
			old := time.Now().Add(-10 * 365 * 24 * time.Hour)
			if err := os.Chtimes(filepath.Join(root, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	check(t, root, "i-1", FirstBoot)
	for _, name := range left {
		if exists(root, name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range stay {
		if !exists(root, name) {
			t.Errorf("%s is gone", name)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	root := t.TempDir()
	boot(t, root, "b1")
	put(t, root, "var/lib/rightscale/instance.json", "{")
	put(t, root, stateJS, "junk")
	put(t, root, identity, "x")
	check(t, root, "i-1", FirstBoot)
	boot(t, root, "b2")
	check(t, root, "i-1", Reboot)
	if text, _ := os.ReadFile(filepath.Join(root, stateJS)); string(text) != "junk" || !exists(root, identity) {
		t.Error("a damaged file was touched")
	}
	if _, err := Check(root, ""); !errors.Is(err, ErrNoInstanceID) {
		t.Errorf("got %v", err)
	}
}

func TestWait(t *testing.T) {
	calls := 0
	ready := func() (bool, error) { calls++; return calls > 2, nil }
	if err := wait(t.Context(), time.Second, time.Millisecond, ready); err != nil || calls != 3 {
		t.Errorf("%v after %d calls", err, calls)
	}
	never := func() (bool, error) { return false, nil }
	if err := wait(t.Context(), 5*time.Millisecond, time.Millisecond, never); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := wait(ctx, time.Minute, time.Minute, never); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUsable(t *testing.T) {
	ip := func(s string) []net.Addr { return []net.Addr{&net.IPNet{IP: net.ParseIP(s)}} }
	tests := map[string]struct {
		flags net.Flags
		addrs []net.Addr
		want  bool
	}{
		"ipv4":       {net.FlagUp, ip("10.0.0.5"), true},
		"link-local": {net.FlagUp, ip("169.254.169.15"), true},
		"ipv6":       {net.FlagUp, ip("2001:db8::1"), true},
		"ipv6 local": {net.FlagUp, ip("fe80::1"), false},
		"no address": {net.FlagUp, nil, false},
		"down":       {0, ip("10.0.0.5"), false},
		"loopback":   {net.FlagUp | net.FlagLoopback, ip("127.0.0.1"), false},
	}
	for name, tc := range tests {
		if got := usable(tc.flags, tc.addrs); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
