// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/rltest"
)

func TestLifeOfAnInstance(t *testing.T) {
	p := rltest.New(t)
	p.Boot = wire.ExecutableBundle{AuditID: 9001, Executables: []wire.RightScript{
		script("hello", `echo "reboot=${RS_REBOOT-unset} again=${RS_ALREADY_RUN-unset} uid=$EC2_INSTANCE_ID token=${RS_RN_AUTH-absent}"`)}}
	p.Decommission = wire.ExecutableBundle{AuditID: 9002, Executables: []wire.RightScript{script("bad", "exit 1"), script("bye", `echo "bye for $DECOM_REASON"`)}}
	root := p.Root(t)
	operational := func() bool { // and the agent knows that the platform knows
		text, err := os.ReadFile(root.State())
		return err == nil && p.State() == "operational" && strings.Contains(string(text), `"last_recorded_value": "operational"`)
	}

	logs := life(t, root, reboots, operational)
	require.Equal(t, []string{oauth, self, decl, record, boot, record, record, decom, record}, p.Calls())
	require.Equal(t, []wire.StateRecord{
		{State: "booting", FromState: "pending"}, {State: "operational", FromState: "booting"},
		{State: "decommissioning", FromState: "operational"}, {State: "decommissioned", FromState: "decommissioning", Kind: "reboot"},
	}, p.Records())
	require.Equal(t, wire.DeclareRequest{RSVersion: 24, RightLinkVersion: "0.1.0", ResourceUID: "i-0123", Cloud: "ec2", ImageUID: "ami-1",
		PublicAddresses: []string{"192.0.2.7"}, PrivateAddresses: []string{"10.0.0.5"}}, p.Declared()[0])
	require.Contains(t, p.Entry("9001").Text, "reboot=unset again=unset uid=i-0123 token=absent\n")
	require.Contains(t, p.Entry("9001").Summaries, "Completed: hello")
	require.Contains(t, p.Entry("9002").Text, "bye for reboot\n")
	require.Contains(t, p.Entry("9002").Summaries, "Completed: bye")
	require.NotContains(t, logs, p.Secret)
	require.NotContains(t, logs, "acc3ss")

	// The same instance boots again.
	p.Forget()
	require.NoError(t, os.WriteFile(root.Join("proc/sys/kernel/random/boot_id"), []byte("boot-2"), 0o600))
	p.With(func() { p.Boot.AuditID = 9003 })
	life(t, root, "", operational)
	require.Equal(t, []string{oauth, self, decl, record, boot, record}, p.Calls())
	require.Equal(t, wire.StateRecord{State: "booting", FromState: "decommissioned"}, p.Records()[0])
	require.Contains(t, p.Entry("9003").Text, "reboot=true again=true")

	// Only the agent's process is new: nothing runs, nothing is recorded.
	p.Forget()
	life(t, root, "", func() bool { return len(p.Calls()) == 3 })
	require.Equal(t, []string{oauth, self, decl}, p.Calls())
	require.Equal(t, "operational", p.State())
}

func TestStranded(t *testing.T) {
	p := rltest.New(t)
	p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{script("bad", "echo oops; exit 4"), script("later", "echo later")}}
	p.Decommission = wire.ExecutableBundle{AuditID: 2, Executables: []wire.RightScript{script("bye", "echo bye")}}
	life(t, p.Root(t), "12 poweroff.target start waiting\n", func() bool { return p.State() == "stranded" })
	require.Contains(t, p.Entry("1").Text, "oops\n*ERROR> Script exit status: 4\n")
	require.NotContains(t, p.Entry("1").Text, "later")
	require.Contains(t, p.Entry("1").Summaries, "Stranded: bad")
	require.Contains(t, p.Entry("2").Text, "bye\n", "a stranded instance is decommissioned too")
	require.Equal(t, "stop", p.Records()[len(p.Records())-1].Kind)
}

func TestEmptyBootList(t *testing.T) {
	p := rltest.New(t)
	life(t, p.Root(t), "", func() bool { return p.State() == "operational" })
	require.Contains(t, p.Entry("7000").Text, "no scripts to run")
}

// Every call meets each awkward case once; the outcome is the same, and no
// audit text is lost or doubled.
func TestAwkwardPlatform(t *testing.T) {
	faults := map[string]rltest.Fault{
		"401": {Status: 401}, "403": {Status: 403}, "503": {Status: 503, Header: map[string]string{"Retry-After": "30"}},
		"429": {Status: 429}, "449": {Status: 449}, "lost answer": {Lose: true}, "half an answer": {Half: true},
	}
	want := ""
	for i := range 4000 {
		want += fmt.Sprintf("%d\n", i+1)
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			p := rltest.New(t)
			p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{script("much", "seq 1 4000")}}
			for _, call := range []string{oauth, self, decl, record, boot, "POST /api/audit_entries/1/append", "GET /api/health-check"} {
				p.Faults[call] = []rltest.Fault{fault}
			}
			life(t, p.Root(t), "", func() bool { return p.State() == "operational" })
			require.Contains(t, p.Entry("1").Text, "****\n"+want+"*RS> ")
			require.Len(t, p.Records(), 2)
		})
	}
}

// The platform knows another state than the agent thinks.
func TestAdoptsTheRecordedState(t *testing.T) {
	p := rltest.New(t)
	p.Faults[record] = []rltest.Fault{{Lose: true}} // booting was taken, the answer got lost
	root := p.Root(t)
	life(t, root, "", func() bool { return p.State() == "operational" })
	require.Equal(t, []string{"booting", "operational"}, []string{p.Records()[0].State, p.Records()[1].State})
}

func TestMissingInputs(t *testing.T) {
	p := rltest.New(t)
	ready := script("needs", "echo db=$DB")
	unready := ready
	unready.Ready, unready.InputFlags = false, map[string][]string{"DB": {wire.FlagUnready}}
	ready.Parameters = map[string]string{"DB": "10.0.0.9"}
	p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{script("first", "echo one"), unready}}
	p.Missing = [][]wire.RightScript{nil, {ready}}
	life(t, p.Root(t), "", func() bool { return p.State() == "operational" })
	require.Contains(t, p.Entry("1").Text, "db=10.0.0.9\n")
	require.Contains(t, p.Entry("1").Text, "Waiting for missing inputs: DB")

	p = rltest.New(t)
	p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{unready}}
	fake := clock.NewFake(time.Now())
	ended := make(chan struct{})
	fake.OnSleep = func(d time.Duration) {
		if d == recordAgain { // stay: let the test end it
			<-ended
		} else if d > time.Hour/2 {
			time.Sleep(time.Hour) // the renewal, in its own goroutine
		}
	}
	logs := lifeWith(t, Options{Root: p.Root(t), Clock: fake, Commands: machine{}}, func() bool {
		if p.State() != "stranded" {
			return false
		}
		close(ended)
		return true
	})
	require.Contains(t, logs, "had no value within 45m0s: DB")
	polls := 0
	for _, c := range p.Calls() {
		if strings.HasSuffix(c, "get_missing_attributes") {
			polls++
		}
	}
	require.Equal(t, 135, polls, "every 20 s for 45 minutes")
}

func TestBadBundleStrands(t *testing.T) {
	p := rltest.New(t)
	p.Faults[boot] = []rltest.Fault{{Status: 200, Body: `{"json_class":"RightScale::ExecutableBundle","data":[[{"json_class":"RightScale::RecipeInstantiation","data":[]}]]}`}}
	life(t, p.Root(t), "", func() bool { return p.State() == "stranded" })
	require.Contains(t, p.Entry("7000").Text, "RecipeInstantiation")
}

func TestRefusedDeclarationRunsNothing(t *testing.T) {
	p := rltest.New(t)
	p.Boot = wire.ExecutableBundle{Executables: []wire.RightScript{script("s", "echo ran")}}
	for range 1000 {
		p.Faults[decl] = append(p.Faults[decl], rltest.Fault{Status: 403, Body: "the token is in use by i-9"})
	}
	logs := life(t, p.Root(t), reboots, func() bool { return len(p.Calls()) > 20 })
	require.Contains(t, logs, "the token is in use by i-9")
	require.NotContains(t, p.Calls(), boot)
	require.NotContains(t, p.Calls(), record)
}

// SIGTERM without a restart decommissions, and the next start in the same boot
// runs the boot scripts again.
func TestServiceStopDecommissions(t *testing.T) {
	p := rltest.New(t)
	root := p.Root(t)
	p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{script("hello", "echo hello again=$RS_ALREADY_RUN")}}
	p.Decommission = wire.ExecutableBundle{AuditID: 2, Executables: []wire.RightScript{script("bye", "echo bye")}}
	life(t, root, serviceStop, func() bool { return p.State() == "operational" })
	require.Equal(t, "decommissioned", p.State())
	require.Contains(t, p.Entry("2").Text, "bye")
	life(t, root, "", func() bool { return p.State() == "operational" })
	require.Contains(t, p.Entry("1").Text, "hello again=true")
}

// A restart of the service in the middle of a boot script of a machine that stays up: the next
// start boots again; the script is not stranded.
func TestInterruptedBoot(t *testing.T) {
	p := rltest.New(t)
	root := p.Root(t)
	mark := root.Join("mark")
	p.Boot = wire.ExecutableBundle{AuditID: 1, Executables: []wire.RightScript{script("slow", "touch "+mark+"; [ -e "+mark+".go ] || sleep 60; echo done")}}
	life(t, root, "", func() bool { _, err := os.Stat(mark); return err == nil })
	require.Equal(t, "booting", p.State())
	require.NoError(t, os.WriteFile(mark+".go", nil, 0o600))
	life(t, root, "", func() bool { return p.State() == "operational" })
	require.Contains(t, p.Entry("1").Text, "done")
}

func TestDecommissionTimeout(t *testing.T) {
	p := rltest.New(t)
	p.Decommission = wire.ExecutableBundle{AuditID: 2, Executables: []wire.RightScript{script("slow", "echo begun; sleep 60")}}
	root := p.Root(t)
	require.NoError(t, os.MkdirAll(root.Join("etc/rightscale.d/right_link"), 0o755))
	require.NoError(t, os.WriteFile(root.Features(), []byte("---\ndecommission:\n  timeout: 1\n"), 0o600))
	began := time.Now()
	life(t, root, reboots, func() bool { return p.State() == "operational" })
	require.Less(t, time.Since(began), 15*time.Second)
	require.Equal(t, "decommissioned", p.State())
	require.Contains(t, p.Entry("2").Text, "did not end in time")
}

func TestOnlyOneAgent(t *testing.T) {
	root := paths.Root(t.TempDir())
	unlock, err := lock(root)
	require.NoError(t, err)
	_, err = lock(root)
	require.ErrorIs(t, err, ErrRunning)
	pid, ok := Running(root)
	require.True(t, ok)
	require.Equal(t, os.Getpid(), pid)
	unlock()
	_, ok = Running(root)
	require.False(t, ok)
}

func TestServiceManagerIsTold(t *testing.T) {
	p := rltest.New(t)
	var mu sync.Mutex
	var told []string
	opt := Options{Root: p.Root(t), Clock: brisk{}, Commands: machine{reboots}, Notify: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, s)
	}}
	lifeWith(t, opt, func() bool { return p.State() == "operational" })
	require.Equal(t, "READY=1", told[0])
	require.Contains(t, told, "STATUS=operational")
	require.Contains(t, told[len(told)-1], "STOPPING=1")
	require.Contains(t, told[len(told)-1], "EXTEND_TIMEOUT_USEC=188000000")
}
