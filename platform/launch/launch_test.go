// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func TestLaunchAndTerminate(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web")
	inst, err := w.Launch.Launch(t.Context(), server.ID, map[string]string{"PORT": "text:81"}, "ann")
	require.NoError(t, err)
	require.Regexp(t, `^i-[0-9a-f]{17}$`, inst.ResourceUID)
	require.Equal(t, w.Cloud.ID, inst.CloudID)
	require.Equal(t, wire.StatePending, w.StateOf(server))
	token, err := w.Fleet.DB.LatestToken(t.Context(), server.ID)
	require.NoError(t, err)
	expected, err := w.Fleet.DB.Expected(t.Context(), token.ID)
	require.NoError(t, err)
	require.Equal(t, store.Expected{Instances: []string{inst.ResourceUID}}, expected)
	inputs, err := w.Fleet.DB.InstanceInputs(t.Context(), inst.ID)
	require.NoError(t, err)
	require.Equal(t, "81", inputs["PORT"].Text)

	out, err := w.EC2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{inst.ResourceUID}})
	require.NoError(t, err)
	machine := out.Reservations[0].Instances[0]
	require.Equal(t, w.Image, *machine.ImageId)
	require.Equal(t, "t3.micro", string(machine.InstanceType))
	require.Equal(t, "required", string(machine.MetadataOptions.HttpTokens))
	tags := map[string]string{}
	for _, tag := range machine.Tags {
		tags[*tag.Key] = *tag.Value
	}
	require.Equal(t, "web", tags["Name"])
	require.Equal(t, inst.UID, tags[launch.TagInstance])
	w.Idle()
	require.Equal(t, "running", w.Instance(inst.ID).CloudState)
	require.NotEmpty(t, w.Instance(inst.ID).PrivateIPs)

	agent := w.Agent(inst.ResourceUID).Boot()
	require.Equal(t, wire.StateOperational, w.StateOf(server))
	require.Equal(t, fleet.InstanceHref(inst), agent.Self(), "the href of the launch is the agent's")
	_, err = w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.ErrorContains(t, err, "terminate it first")

	// The agent is asked first, and the machine ends when it is through.
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "bob"), "twice is once")
	event, ok := agent.Take()
	require.True(t, ok)
	require.Equal(t, wire.ActorScheduleDecommission, event.Path)
	require.Contains(t, string(event.Data), wire.KindTerminate)
	for range 20 {
		require.NoError(t, w.Launch.WorkOff(t.Context()))
	}
	require.Equal(t, "running", w.Cloudly()[inst.ResourceUID], "not before the agent is through")
	agent.Record(wire.StateDecommissioning, "")
	agent.Record(wire.StateDecommissioned, wire.KindTerminate)
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Equal(t, wire.StateTerminated, w.Instance(inst.ID).State)
	require.Error(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	trail := w.Trail(server)
	for _, want := range []string{`launch of server "web" requested`, inst.ResourceUID + " launched", "termination of " + inst.ResourceUID + " requested"} {
		require.Contains(t, trail, want)
	}

	// And it can be launched again, with another token, as another instance.
	again, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.NotEqual(t, inst.ID, again.ID)
	require.NotEqual(t, inst.ResourceUID, again.ResourceUID)
}

// While the id is not known, nobody can use the token, and that leaves no trace;
// afterwards only the machine that was launched can.
func TestOnlyTheLaunchedMachineEnrols(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web")
	lost := w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply, Times: 1})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err, "a lost answer is no refusal")
	require.Empty(t, inst.ResourceUID)
	require.Equal(t, wire.StatePending, w.StateOf(server))
	require.Equal(t, 1, w.Alive())
	var id string
	for id = range w.Cloudly() {
	}
	early := w.Agent(id)
	require.ErrorContains(t, early.Prove(), "not known yet")
	require.NotContains(t, w.Trail(server), "refused")
	w.Local.Faults().Remove(lost.ID)
	w.Work("the launch is repeated", func() bool { return w.Instance(inst.ID).ResourceUID != "" })
	require.Equal(t, id, w.Instance(inst.ID).ResourceUID, "the same machine")
	require.Equal(t, 1, w.Alive(), "the client token makes a repetition harmless")

	thief, err := w.EC2.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &w.Image, InstanceType: "t3.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	require.NoError(t, err)
	require.ErrorContains(t, w.AgentWith(*thief.Instances[0].InstanceId, w.UserData(id)).Prove(), "is not the instance that is expected")
	early.Boot()
	require.Equal(t, wire.StateOperational, w.StateOf(server))
}

func TestRefusedLaunch(t *testing.T) {
	for name, tc := range map[string]struct {
		fault fault.Rule
		spec  func(*fleet.ServerSpec)
		want  string
	}{
		"denied":   {fault.Rule{Action: "RunInstances", Kind: fault.Deny}, nil, "UnauthorizedOperation"},
		"quota":    {fault.Rule{Action: "RunInstances", Kind: fault.Error, Code: "InstanceLimitExceeded"}, nil, "InstanceLimitExceeded"},
		"no image": {fault.Rule{}, func(s *fleet.ServerSpec) { s.Launch.ImageUID = "ami-0123456789abcdef0" }, "InvalidAMIID.NotFound"},
		"no group": {fault.Rule{}, func(s *fleet.ServerSpec) { s.Launch.SecurityGroupUIDs = []string{"sg-0123456789abcdef0"} }, "InvalidGroup.NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			w := cloudtest.New(t)
			if tc.fault.Action != "" {
				w.Fault(tc.fault)
			}
			var change []func(*fleet.ServerSpec)
			if tc.spec != nil {
				change = append(change, tc.spec)
			}
			server := w.Server("web", change...)
			inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
			require.ErrorContains(t, err, tc.want)
			var refused *fleet.RefusedError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, wire.StateTerminated, w.Instance(inst.ID).State)
			require.Equal(t, wire.StateInactive, w.StateOf(server))
			require.Contains(t, w.Trail(server), "launch failed")
			require.Empty(t, w.Cloudly())
			w.Idle()
			job, err := w.Fleet.DB.LatestMachineJob(t.Context(), inst.ID)
			require.NoError(t, err)
			require.Empty(t, job.Sealed, "the token is not kept longer than needed")
		})
	}
}

func TestImpossibleLaunch(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("default", func(s *fleet.ServerSpec) { s.Launch = store.Launch{} })
	_, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.ErrorIs(t, err, launch.ErrNoCredentials)
	require.ErrorContains(t, err, "no cloud credentials")
	require.ErrorContains(t, err, "rightscaled cloud add")
	var invalid *fleet.InvalidError
	require.ErrorAs(t, err, &invalid)

	server = w.Server("imageless", func(s *fleet.ServerSpec) { s.Launch.ImageUID = "" })
	_, err = w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.ErrorContains(t, err, "has no image")
	_, err = w.Launch.Launch(t.Context(), server.ID, map[string]string{"PORT": "81"}, "ann")
	require.ErrorContains(t, err, `input "PORT"`)
	server = w.Server("long", func(s *fleet.ServerSpec) { s.UserData = strings.Repeat("x", 17<<10) })
	_, err = w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.ErrorContains(t, err, "too large")
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Empty(t, w.Cloudly())
}

func TestThrottledLaunch(t *testing.T) {
	w := cloudtest.New(t)
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.Throttle, Times: 3})
	server := w.Server("web")
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.Empty(t, inst.ResourceUID)
	w.Idle()
	require.NotEmpty(t, w.Instance(inst.ID).ResourceUID)
	require.Equal(t, 1, w.Alive())
}

// A cloud that does not answer for too long: whatever a lost call has launched
// is found and terminated before the launch counts as failed.
func TestLaunchGivenUpLeavesNothing(t *testing.T) {
	w := cloudtest.New(t)
	lost := w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	server := w.Server("web")
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.Equal(t, 1, w.Alive())
	w.Advance(w.Launch.Limits.Launch + time.Minute)
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Equal(t, wire.StateTerminated, w.Instance(inst.ID).State)
	w.Local.Faults().Remove(lost.ID)
	_, err = w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
}

// A process that dies between the call and the write leaves its lease; another
// one goes on when that is over, and there is one machine.
func TestKilledBetweenCallAndWrite(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web")
	dying := w.Machines(w.Open())
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply, Times: 1, OnHit: func() { _ = dying.Fleet.Close() }})
	_, err := dying.Launch(t.Context(), server.ID, nil, "ann")
	require.Error(t, err, "the process has lost its database")
	inst := w.Current(server)
	require.Empty(t, inst.ResourceUID)
	require.Equal(t, 1, w.Alive())

	require.NoError(t, w.Launch.WorkOff(t.Context()))
	require.Empty(t, w.Instance(inst.ID).ResourceUID, "the lease of the dead is respected")
	w.Advance(3 * time.Minute)
	w.Idle()
	require.NotEmpty(t, w.Instance(inst.ID).ResourceUID)
	require.Equal(t, 1, w.Alive())
	w.Agent(w.Instance(inst.ID).ResourceUID).Boot()
}

// Terminated while its launch is not answered: the machine is looked for.
func TestTerminateDuringLaunch(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web")
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateInactive, w.StateOf(server))

	// The same when nothing came of the call.
	w.Local.Faults().Remove("1")
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.Drop})
	inst, err = w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.NoError(t, w.Launch.Terminate(t.Context(), inst.ID, "ann"))
	w.Idle()
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Equal(t, wire.StateTerminated, w.Instance(inst.ID).State)
}

// Two processes work on the same jobs: each step is done once.
func TestTwoWorkers(t *testing.T) {
	w := cloudtest.New(t)
	other := w.Machines(w.Open())
	calls := w.Local.Faults()
	const n = 6
	for i := range n {
		server := w.Server(strings.Repeat("x", i+1))
		w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.Throttle, Times: 1})
		_, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := other.WorkOff(context.WithoutCancel(ctx)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	w.Idle()
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, n, w.Alive())
	require.Equal(t, n, calls.Calls()["ec2:RunInstances"]-n, "one throttled and one good call each")
}
