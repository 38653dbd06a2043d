// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

func rootWithBoot(t *testing.T, bootID string) paths.Root {
	root := paths.Root(t.TempDir())
	setBoot(t, root, bootID)
	return root
}

func setBoot(t *testing.T, root paths.Root, bootID string) {
	dir := root.Join("proc/sys/kernel/random")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "boot_id"), []byte(bootID+"\n"), 0o600))
	require.NoError(t, os.WriteFile(root.Join("proc/uptime"), []byte("12.50 20.00\n"), 0o600))
}

func TestBegin(t *testing.T) {
	for name, tc := range map[string]struct {
		before    *File
		boot      string
		uid       string
		want      Start
		value     string
		recorded  string
		wantReboo bool
	}{
		"no file":           {nil, "b1", "i-1", FirstBoot, "booting", "pending", false},
		"new process":       {&File{Value: "operational", Identity: "id", BootID: "b1", LastRecordedValue: "operational"}, "b1", "i-1", Restart, "operational", "operational", false},
		"crash in boot":     {&File{Value: "booting", Identity: "id", BootID: "b1", LastRecordedValue: "booting", Rebooted: true}, "b1", "i-1", Restart, "booting", "booting", true},
		"reboot":            {&File{Value: "operational", Identity: "id", BootID: "b1", LastRecordedValue: "operational"}, "b2", "i-1", Reboot, "booting", "operational", true},
		"after shutdown":    {&File{Value: "decommissioned", Identity: "id", BootID: "b1", LastRecordedValue: "decommissioned", DecommissionType: "reboot"}, "b2", "i-1", Reboot, "booting", "decommissioned", true},
		"flag, no boot id":  {&File{Value: "operational", Identity: "id", Reboot: true, LastRecordedValue: "operational"}, "b2", "i-1", Reboot, "booting", "operational", true},
		"flag in same boot": {&File{Value: "operational", Identity: "id", Reboot: true, BootID: "b1", LastRecordedValue: "operational"}, "b1", "i-1", Restart, "operational", "operational", false},
		"stop and start":    {&File{Value: "operational", Identity: "old", BootID: "b1", LastObservedResourceUID: "i-1", LastRecordedValue: "operational"}, "b2", "i-1", StopStart, "booting", "pending", true},
		"bundled":           {&File{Value: "operational", Identity: "old", BootID: "b1", LastObservedResourceUID: "i-0", LastRecordedValue: "operational"}, "b2", "i-1", Bundled, "booting", "pending", false},
		"bundled, no uid":   {&File{Value: "operational", Identity: "old", BootID: "b1", LastRecordedValue: "operational"}, "b2", "", Bundled, "booting", "pending", false},
	} {
		t.Run(name, func(t *testing.T) {
			root := rootWithBoot(t, tc.boot)
			if tc.before != nil {
				require.NoError(t, writeJSON(root.State(), tc.before))
			}
			s, err := Open(root)
			require.NoError(t, err)
			start, err := s.Begin("id", tc.uid)
			require.NoError(t, err)
			require.Equal(t, tc.want, start)

			again, err := Open(root)
			require.NoError(t, err)
			f, ok := again.Get()
			require.True(t, ok)
			require.Equal(t, tc.value, f.Value)
			require.Equal(t, tc.recorded, f.LastRecordedValue)
			require.Equal(t, tc.wantReboo, f.Rebooted)
			require.False(t, f.Reboot)
			require.Equal(t, "id", f.Identity)
			require.Equal(t, tc.uid, f.LastObservedResourceUID)
			require.InDelta(t, 12.5, f.Uptime, 0.01)
		})
	}
}

func TestOpenDamaged(t *testing.T) {
	root := rootWithBoot(t, "b")
	require.NoError(t, os.MkdirAll(root.StateDir(), 0o700))
	require.NoError(t, os.WriteFile(root.State(), []byte("{\"val"), 0o600))
	s, err := Open(root)
	require.NoError(t, err)
	start, err := s.Begin("id", "i-1")
	require.NoError(t, err)
	require.Equal(t, FirstBoot, start)
	require.FileExists(t, root.State()+".damaged")
	info, err := os.Stat(root.State())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestFieldNames(t *testing.T) {
	text, err := json.Marshal(File{DecommissionType: "stop"})
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m))
	for _, name := range []string{"value", "identity", "uptime", "reboot", "startup_tags", "log_level", "record_retries",
		"last_recorded_value", "last_communication", "last_observed_resource_uid", "decommission_type"} {
		require.Contains(t, m, name)
	}
}

// recorder answers with errs, one after another, then with success.
type recorder struct {
	errs []error
	got  []wire.StateRecord
}

func (r *recorder) Record(_ context.Context, rec wire.StateRecord) error {
	r.got = append(r.got, rec)
	if len(r.errs) == 0 {
		return nil
	}
	err := r.errs[0]
	r.errs = r.errs[1:]
	return err
}

func begun(t *testing.T) *Store {
	s, err := Open(rootWithBoot(t, "b"))
	require.NoError(t, err)
	_, err = s.Begin("id", "i-1")
	require.NoError(t, err)
	return s
}

func TestRecord(t *testing.T) {
	down := errors.New("down")
	names := func(state string) error {
		return &session.Error{Status: 422, Body: "currently recorded state is " + state}
	}
	for name, tc := range map[string]struct {
		errs  []error
		from  []string
		waits int
		fails bool
	}{
		"at once":        {nil, []string{"pending"}, 0, false},
		"third try":      {[]error{down, down}, []string{"pending", "pending", "pending"}, 2, false},
		"never":          {[]error{down, down, down, down, down, down}, []string{"pending", "pending", "pending", "pending", "pending", "pending"}, 5, true},
		"adopts":         {[]error{names("operational")}, []string{"pending", "operational"}, 0, false},
		"is recorded":    {[]error{names("booting")}, []string{"pending"}, 0, false},
		"adopts, waits":  {[]error{names("operational"), names("operational")}, []string{"pending", "operational", "operational"}, 1, false},
		"adopts changes": {[]error{names("operational"), down, names("stranded")}, []string{"pending", "operational", "operational", "stranded"}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, r, c := begun(t), &recorder{errs: tc.errs}, clock.NewFake(time.Now())
			require.True(t, s.Unrecorded())
			err := s.Record(t.Context(), r, c)
			require.Equal(t, tc.fails, err != nil, err)
			require.Equal(t, tc.fails, s.Unrecorded())
			var from []string
			for _, g := range r.got {
				require.Equal(t, "booting", g.State)
				from = append(from, g.FromState)
			}
			require.Equal(t, tc.from, from)
			require.Len(t, c.Waits(), tc.waits)
			for _, w := range c.Waits() {
				require.Equal(t, RecordDelay, w)
			}
		})
	}
}

func TestRecordFinal(t *testing.T) {
	s, r := begun(t), &recorder{errs: []error{&session.Error{Status: 422, Body: `{"recorded_state":"decommissioning"}`}}}
	require.NoError(t, s.RecordFinal(t.Context(), r, "reboot"))
	require.Equal(t, []wire.StateRecord{
		{State: "decommissioned", FromState: "pending", Kind: "reboot"}, {State: "decommissioned", FromState: "decommissioning", Kind: "reboot"},
	}, r.got)
	f, _ := s.Get()
	require.Equal(t, "reboot", f.DecommissionType)
	require.Equal(t, "decommissioned", f.LastRecordedValue)
}

func TestContact(t *testing.T) {
	s := begun(t)
	at := time.Unix(1_800_000_000, 0)
	require.NoError(t, s.Contact(at))
	require.NoError(t, s.Contact(at.Add(time.Second)))
	f, _ := s.Get()
	require.Equal(t, at.Unix(), f.LastCommunication)
	require.NoError(t, s.Contact(at.Add(2*time.Second)))
	f, _ = s.Get()
	require.Equal(t, at.Unix()+2, f.LastCommunication)
}

func TestPast(t *testing.T) {
	root := paths.Root(t.TempDir())
	p, err := OpenPast(root)
	require.NoError(t, err)
	require.False(t, p.Has("a"))
	require.NoError(t, p.Add("a"))
	require.NoError(t, p.Add("a"))
	text, err := os.ReadFile(root.PastScripts())
	require.NoError(t, err)
	require.JSONEq(t, `["a"]`, string(text))
	p, err = OpenPast(root)
	require.NoError(t, err)
	require.True(t, p.Has("a"))
	require.NoError(t, p.Forget())
	require.False(t, p.Has("a"))
}
