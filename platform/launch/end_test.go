// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// running launches a server and boots its agent.
func running(t *testing.T, w *cloudtest.World, name string, change ...func(*fleet.ServerSpec)) (store.Server, store.Instance, *cloudtest.Agent) {
	t.Helper()
	server := w.Server(name, change...)
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	w.Idle()
	return server, inst, w.Agent(inst.ResourceUID).Boot()
}

func TestDecommissionTimeouts(t *testing.T) {
	for name, tc := range map[string]struct {
		tag   string
		takes bool // the request
		after func(l time.Duration) time.Duration
		note  string
	}{
		"the agent is not there": {"", false, nil, "did not ask for its work within 5m0s"},
		"it takes too long":      {"", true, func(time.Duration) time.Duration { return 50 * time.Minute }, "longer than 50m0s"},
		"medium":                 {"rs_decommissioning:delay=medium", true, func(time.Duration) time.Duration { return 110 * time.Minute }, "longer than 1h50m0s"},
		"long":                   {"rs_decommissioning:delay=long", true, func(time.Duration) time.Duration { return 230 * time.Minute }, "longer than 3h50m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			w := cloudtest.New(t)
			server, inst, agent := running(t, w, "web")
			if tc.tag != "" {
				_, err := w.Fleet.TagServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", []string{tc.tag}, nil)
				require.NoError(t, err)
			}
			require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
			require.NoError(t, w.Launch.WorkOff(t.Context()))
			limit := 5 * time.Minute
			if tc.takes {
				_, ok := agent.Take()
				require.True(t, ok)
				agent.Record(wire.StateDecommissioning, "")
				limit = tc.after(0)
			}
			w.Advance(limit - 20*time.Second)
			for range 10 {
				require.NoError(t, w.Launch.WorkOff(t.Context()))
				time.Sleep(5 * time.Millisecond)
			}
			require.Equal(t, "running", w.Cloudly()[inst.ResourceUID], "its time is not over")
			w.Advance(30 * time.Second)
			w.Idle()
			require.Zero(t, w.Alive())
			require.Equal(t, wire.StateInactive, w.StateOf(server))
			require.Contains(t, w.Trail(server), tc.note)
		})
	}
}

func TestTerminateNow(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, agent := running(t, w, "web")
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	_, ok := agent.Take()
	require.True(t, ok)
	require.NoError(t, w.Launch.TerminateNow(t.Context(), inst.ID, "ann"), "patience is lost")
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateInactive, w.StateOf(server))
}

func TestLockedInstance(t *testing.T) {
	w := cloudtest.New(t)
	_, inst, _ := running(t, w, "web")
	require.NoError(t, w.Fleet.DB.SetInstanceLocked(t.Context(), inst.ID, true))
	require.ErrorContains(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"), "is locked")
	require.Equal(t, 1, w.Alive())
}

func TestStopAndStart(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, agent := running(t, w, "web")
	require.NoError(t, w.Launch.Stop(t.Context(), inst.ID, "ann"))
	event, ok := agent.Take()
	require.True(t, ok)
	require.Contains(t, string(event.Data), wire.KindStop)
	agent.Record(wire.StateDecommissioning, "")
	agent.Record(wire.StateDecommissioned, wire.KindStop)
	w.Idle()
	require.Equal(t, "stopped", w.Cloudly()[inst.ResourceUID])
	require.Equal(t, wire.StateDecommissioned, w.StateOf(server))
	require.True(t, fleet.Living(w.Instance(inst.ID)))

	require.NoError(t, w.Launch.Start(t.Context(), inst.ID, "ann"))
	w.Idle()
	require.Equal(t, "running", w.Cloudly()[inst.ResourceUID])
	require.Equal(t, wire.StatePending, w.StateOf(server))
	agent.Boot() // with its key, without the token
	require.Equal(t, wire.StateOperational, w.StateOf(server))
	require.Equal(t, inst.ID, w.Current(server).ID, "the same instance")

	// A stop is made a termination while it waits for the agent.
	require.NoError(t, w.Launch.Stop(t.Context(), inst.ID, "ann"))
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	require.ErrorContains(t, w.Launch.Stop(t.Context(), inst.ID, "ann"), "is being terminated")
	require.ErrorContains(t, w.Launch.Start(t.Context(), inst.ID, "ann"), "under way")
	w.Advance(6 * time.Minute)
	w.Idle()
	require.Zero(t, w.Alive())
}

func TestStartRefused(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, _ := running(t, w, "web")
	require.NoError(t, w.Launch.Stop(t.Context(), inst.ID, "ann"))
	w.Advance(6 * time.Minute)
	w.Idle()
	w.Fault(fault.Rule{Action: "StartInstances", Kind: fault.Deny})
	require.NoError(t, w.Launch.Start(t.Context(), inst.ID, "ann"))
	w.Idle()
	require.Contains(t, w.Trail(server), "start failed: StartInstances: UnauthorizedOperation")
	require.Equal(t, "stopped", w.Cloudly()[inst.ResourceUID])
}

func TestReboot(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, _ := running(t, w, "web")
	require.NoError(t, w.Launch.Reboot(t.Context(), inst.ID, "ann"))
	require.Equal(t, 1, w.Local.Faults().Calls()["ec2:RebootInstances"])
	require.Contains(t, w.Trail(server), "reboot of "+inst.ResourceUID+" requested")
	w.Fault(fault.Rule{Action: "RebootInstances", Kind: fault.Drop})
	require.ErrorContains(t, w.Launch.Reboot(t.Context(), inst.ID, "ann"), "failed")
	require.Equal(t, 2, w.Local.Faults().Calls()["ec2:RebootInstances"], "not repeated")
}

func TestRelaunch(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, agent := running(t, w, "web")
	require.NoError(t, w.Launch.Relaunch(t.Context(), server.ID, "ann"))
	_, ok := agent.Take()
	require.True(t, ok)
	agent.Record(wire.StateDecommissioned, wire.KindTerminate)
	w.Idle()
	next := w.Current(server)
	require.NotEqual(t, inst.ResourceUID, next.ResourceUID)
	require.Equal(t, "running", w.Cloudly()[next.ResourceUID])
	require.Equal(t, 1, w.Alive())
	w.Agent(next.ResourceUID).Boot()

	// Without a machine it is a launch; one that cannot be is told.
	require.NoError(t, w.Launch.TerminateNow(t.Context(), next.ID, "ann"))
	w.Idle()
	require.NoError(t, w.Launch.Relaunch(t.Context(), server.ID, "ann"))
	w.Idle()
	require.Equal(t, 1, w.Alive())
	image := ""
	require.NoError(t, w.Fleet.UpdateServer(t.Context(), fleet.By{Account: fleet.DefaultAccount}, server.ID, fleet.ServerPatch{Launch: fleet.LaunchPatch{ImageUID: &image}}))
	require.NoError(t, w.Launch.Relaunch(t.Context(), server.ID, "ann"))
	w.Idle()
	require.Zero(t, w.Alive())
	require.Contains(t, w.Trail(server), "relaunch failed")
}

// A cloud that lets nobody terminate: it is tried on, and the trail says so once.
func TestTerminationDenied(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, _ := running(t, w, "web")
	denied := w.Fault(fault.Rule{Action: "TerminateInstances", Kind: fault.Deny})
	require.NoError(t, w.Launch.TerminateNow(t.Context(), inst.ID, "ann"))
	w.Advance(6 * time.Minute)
	require.NoError(t, w.Launch.WorkOff(t.Context()))
	require.Equal(t, 1, w.Alive())
	require.Contains(t, w.Trail(server), "terminate of "+inst.ResourceUID+" is not possible: TerminateInstances: UnauthorizedOperation")
	w.Local.Faults().Remove(denied.ID)
	w.Advance(6 * time.Minute)
	w.Idle()
	require.Zero(t, w.Alive())
}

// Terminated by its own agent (rs_shutdown): the machine is only powered off,
// and the platform ends it.
func TestAgentTerminatesItself(t *testing.T) {
	w := cloudtest.New(t)
	server, inst, agent := running(t, w, "web")
	agent.Record(wire.StateDecommissioned, wire.KindTerminate)
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.NoError(t, w.Launch.Watch(t.Context()))
	w.Idle()
	require.Equal(t, "terminated", w.Cloudly()[inst.ResourceUID])
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, 1, w.Local.Faults().Calls()["ec2:TerminateInstances"])
}

func TestStranded(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web")
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	w.Idle()
	w.Advance(59 * time.Minute)
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StatePending, w.StateOf(server))
	w.Advance(2 * time.Minute)
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StateStranded, w.StateOf(server))
	require.Contains(t, w.Trail(server), "has not reported within 1h0m0s")

	// A machine that ran long before it was connected has just begun.
	old := w.Server("old", func(s *fleet.ServerSpec) { s.Launch = store.Launch{} })
	doc, err := w.Fleet.UserData(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, old.Name, "query", "")
	require.NoError(t, err)
	out, err := w.EC2.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &w.Image, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	require.NoError(t, err)
	require.NoError(t, w.AgentWith(*out.Instances[0].InstanceId, doc).Prove())
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StatePending, w.Current(old).State)

	// Later is not too late.
	w.Agent(inst.ResourceUID).Boot()
	require.Equal(t, wire.StateOperational, w.StateOf(server))
}

func TestMissingInputs(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web", func(s *fleet.ServerSpec) {
		s.Inputs = map[string]valueOf{"PASSWORD": value(t, "cred:NOT_THERE")}
	})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	w.Idle()
	agent := w.Agent(inst.ResourceUID)
	require.NoError(t, agent.Prove())
	require.NoError(t, agent.Declare())
	agent.Record(wire.StateBooting, "")
	w.Advance(44 * time.Minute)
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StateBooting, w.StateOf(server))
	w.Advance(2 * time.Minute)
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StateStranded, w.StateOf(server))
	require.Contains(t, w.Trail(server), "inputs are missing for 45m0s")

	// A long boot with all inputs is nobody's business.
	_, other, _ := running(t, w, "slow", func(s *fleet.ServerSpec) { s.Inputs = map[string]valueOf{"PASSWORD": value(t, "text:x")} })
	require.NoError(t, w.Fleet.DB.SetInstanceState(t.Context(), other.ID, wire.StateBooting, time.Time{}, w.Fleet.Now()))
	w.Advance(5 * time.Hour)
	require.NoError(t, w.Launch.Watch(t.Context()))
	require.Equal(t, wire.StateBooting, w.Instance(other.ID).State)
}

// A server that the platform launched is not forgotten while its machine lives.
func TestDeleteServerWithMachine(t *testing.T) {
	w := cloudtest.New(t)
	_, inst, _ := running(t, w, "web")
	for _, force := range []bool{false, true} {
		require.ErrorContains(t, w.Fleet.DeleteServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", force), "terminate it first")
	}
	_, err := w.Fleet.RelaunchServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", "")
	require.ErrorContains(t, err, "terminate it first")
	require.NoError(t, w.Launch.TerminateNow(t.Context(), inst.ID, "ann"))
	w.Idle()
	require.NoError(t, w.Fleet.DeleteServer(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", false))
}

// An instance without credentials for its cloud is the agent's to end.
func TestNoCredentials(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("by hand", func(s *fleet.ServerSpec) { s.Launch = store.Launch{} })
	doc, err := w.Fleet.UserData(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, server.Name, "query", "")
	require.NoError(t, err)
	out, err := w.EC2.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &w.Image, InstanceType: types.InstanceTypeT3Micro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	require.NoError(t, err)
	require.NoError(t, w.Launch.RemoveCloud(t.Context(), fleet.DefaultAccount, "local", "ann"))
	w.AgentWith(*out.Instances[0].InstanceId, doc).Boot()
	inst := w.Current(server)
	for _, err := range []error{w.Launch.Terminate(t.Context(), inst.ID, "ann"), w.Launch.Stop(t.Context(), inst.ID, "ann"), w.Launch.Start(t.Context(), inst.ID, "ann"), w.Launch.Reboot(t.Context(), inst.ID, "ann")} {
		require.ErrorContains(t, err, "no cloud credentials")
	}
}
