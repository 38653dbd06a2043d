// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
)

func update(t *testing.T, root string, fn func(*Status)) {
	t.Helper()
	if err := Update(root, func(s *Status) error { fn(s); return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	root := t.TempDir()
	if s, err := Load(root); err != nil || len(s.Stages) != 0 {
		t.Fatalf("no file: %+v %v", s, err)
	}
	update(t, root, func(s *Status) { s.Begin("early"); s.End("early", OK, "host keys made", []string{"/etc/ssh/x"}) })
	update(t, root, func(s *Status) { s.SetInstance("i-1"); s.Begin("rightimage") })
	s, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	early, ok := s.Stage("early")
	if !ok || early.Result != OK || early.Runs != 1 || early.Changed[0] != "/etc/ssh/x" || early.Finished.IsZero() {
		t.Errorf("early: %+v", early)
	}
	if st, _ := s.Stage("rightimage"); st.Result != Running || !st.Finished.IsZero() {
		t.Errorf("a stage that has begun: %+v", st)
	}
	if s.InstanceID != "i-1" || s.Updated.IsZero() {
		t.Errorf("%+v", s)
	}
	info, err := os.Stat(Path(root))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	update(t, root, func(s *Status) { s.SetInstance("i-1"); s.Begin("early"); s.End("early", Skipped, "", nil) })
	update(t, root, func(s *Status) {
		if st, _ := s.Stage("early"); st.Runs != 2 || st.Result != Skipped || len(s.Stages) != 2 {
			t.Errorf("second run: %+v", s)
		}
		s.SetInstance("i-2")
		if len(s.Stages) != 0 {
			t.Error("stages of another instance must go")
		}
	})
}

func TestErrorWritesNothing(t *testing.T) {
	root, want := t.TempDir(), errors.New("no")
	if err := Update(root, func(s *Status) error { s.Begin("x"); return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(Path(root)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCorruptFileIsReplaced(t *testing.T) {
	root := t.TempDir()
	update(t, root, func(s *Status) { s.Begin("x") })
	for _, junk := range []string{"", "{", `{"stages":7}`, "\x00"} {
		if err := os.WriteFile(Path(root), []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(root); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", junk, err)
		}
		update(t, root, func(s *Status) { s.End("y", OK, "", nil) })
		if s, err := Load(root); err != nil || len(s.Stages) != 1 {
			t.Errorf("%q: %+v %v", junk, s, err)
		}
	}
}

func TestConcurrentUpdates(t *testing.T) {
	root := t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := Update(root, func(s *Status) error { s.Begin("x"); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := Load(root)
	if err != nil || len(s.Stages) != 1 || s.Stages[0].Runs != 20 {
		t.Errorf("%+v %v", s, err)
	}
	if entries, _ := os.ReadDir(root + "/var/lib/rightscale"); len(entries) != 1 {
		t.Errorf("leftovers: %v", entries)
	}
}

func TestRender(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	s := Status{
		InstanceID: "i-0123", Version: "1.0.0",
		Facts: &detect.Facts{PrettyName: "Debian GNU/Linux 12", Arch: "amd64", Init: detect.Systemd, Virt: "kvm", Cloud: "ec2", CloudSource: "file"},
		Stages: []Stage{
			{Name: "rightimage", Result: OK, Started: at, Finished: at.Add(3 * time.Second), Detail: "installed\x1b[31m 1.0", Changed: []string{"/opt/rightscale"}},
			{Name: "rightboot", Result: Running, Started: at},
		},
	}
	var b strings.Builder
	if err := s.Render(&b); err != nil {
		t.Fatal(err)
	}
	want := `Instance   i-0123
System     Debian GNU/Linux 12, amd64
Init       systemd
Cloud      ec2 (from file), virtualisation kvm
Bootstrap  1.0.0

STAGE       RESULT   STARTED               TOOK  DETAIL
rightimage  ok       2026-11-24 10:00:00Z  3s    installed [31m 1.0
rightboot   running  2026-11-24 10:00:00Z  -     

rightimage changed:
  - /opt/rightscale
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
	b.Reset()
	if err := (&Status{}).Render(&b); err != nil || !strings.Contains(b.String(), "No stage") {
		t.Errorf("empty: %q %v", b.String(), err)
	}
}
