// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// fakeMachines records what is asked of it.
type fakeMachines struct {
	mu    sync.Mutex
	calls []string
	specs map[string]machine.Spec
	fail  error
}

func (f *fakeMachines) note(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return f.fail
}

func (f *fakeMachines) Start(_ context.Context, s machine.Spec) error {
	f.mu.Lock()
	f.specs[s.ID] = s
	f.mu.Unlock()
	return f.note("start")
}
func (f *fakeMachines) Stop(_ context.Context, _ string, bound time.Duration) error {
	return f.note("stop " + bound.String())
}
func (f *fakeMachines) Reboot(context.Context, string) error { return f.note("reboot") }
func (f *fakeMachines) Forget(string) error                  { return f.note("forget") }
func (f *fakeMachines) Close() error                         { return nil }
func (f *fakeMachines) Console(string) ([]byte, error)       { return []byte("login: "), nil }
func (f *fakeMachines) Status(id string) (machine.Status, error) {
	return machine.Status{ID: id, SSHHost: "127.0.0.1", SSHPort: 2222}, nil
}

func (f *fakeMachines) Plug(_ context.Context, _ string, d machine.Disk) error {
	return f.note("plug " + d.ID)
}
func (f *fakeMachines) Unplug(_ context.Context, _ string, d machine.Disk) error {
	return f.note("unplug " + d.ID)
}
func (f *fakeMachines) Resize(_ context.Context, _ string, d machine.Disk) error {
	return f.note(fmt.Sprintf("resize %s %d", d.ID, d.Size>>30))
}
func (f *fakeMachines) Frozen(ctx context.Context, _ string, work func(context.Context) error) error {
	return errors.Join(f.note("freeze"), work(ctx))
}
func (f *fakeMachines) WriteRaw(_ context.Context, d machine.Disk, raw string) error {
	written, err := os.ReadFile(d.Path)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(raw, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = out.WriteAt(written, store.BlockSize)
	return errors.Join(f.note("convert"), err, out.Close())
}

func (f *fakeMachines) made() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func withMachines(t *testing.T) (*cloud, *fakeMachines) {
	m := &fakeMachines{specs: map[string]machine.Spec{}}
	cfg := quiet(t)
	cfg.MemoryMiB, cfg.CPUs = 512, 1
	return start(t, cfg, func(s *Server) { s.fleet.machines, s.fleet.cfg.NoBoot = m, false }), m
}

func TestInstanceLife(t *testing.T) {
	c, m := withMachines(t)
	ami, snap := c.image("life")
	in := launchOne(ami)
	in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte("RS_rn_id=1")))
	in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("web")}}}}
	in.MetadataOptions = &ec2types.InstanceMetadataOptionsRequest{InstanceMetadataTags: "enabled"}
	group, subnet := c.newGroup("web"), c.subnets()[1]
	in.SecurityGroupIds, in.SubnetId = []string{group}, subnet.SubnetId
	in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(4)}}}
	out, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, ec2types.InstanceStateNamePending, out.Instances[0].State.Name)
	id := *out.Instances[0].InstanceId
	inst := c.reaches(id, "running")
	require.Regexp(t, `^127\.86\.(1[6-9]|2\d|3[01])\.\d+$`, *inst.PrivateIpAddress)
	require.Equal(t, strings.Replace(*inst.PrivateIpAddress, "127.86.", "127.87.", 1), *inst.PublicIpAddress)
	require.Equal(t, *subnet.AvailabilityZone, *inst.Placement.AvailabilityZone)
	require.Contains(t, tagsOf(inst), "rightimage:local-ssh=127.0.0.1:2222")
	require.Equal(t, group, *inst.SecurityGroups[0].GroupId)

	spec := m.specs[id]
	require.Equal(t, "RS_rn_id=1", string(spec.UserData))
	require.Equal(t, region, spec.Region)
	require.Equal(t, map[string]string{"Name": "web"}, spec.Tags)
	require.Equal(t, []int{512, 1, 4 << 30}, []int{spec.MemoryMiB, spec.CPUs, int(spec.Disks[0].Size)})
	require.FileExists(t, spec.Disks[0].Base)
	require.Equal(t, []string{*inst.PrivateIpAddress, *inst.PublicIpAddress}, spec.Addresses)

	console, err := c.ec2.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: &id})
	require.NoError(t, err)
	text, err := base64.StdEncoding.DecodeString(*console.Output)
	require.NoError(t, err)
	require.Equal(t, "login: ", string(text))

	// The instance outlives its image and snapshot.
	_, err = c.ec2.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &ami})
	require.NoError(t, err)
	_, err = c.ec2.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
	require.NoError(t, err)

	_, err = c.ec2.RebootInstances(t.Context(), &ec2.RebootInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	stopped, err := c.ec2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	require.Equal(t, ec2types.InstanceStateNameRunning, stopped.StoppingInstances[0].PreviousState.Name)
	require.Nil(t, c.reaches(id, "stopped").PublicIpAddress)
	_, err = c.ec2.RebootInstances(t.Context(), &ec2.RebootInstancesInput{InstanceIds: []string{id}})
	require.Equal(t, "IncorrectInstanceState", codeOf(t, err))
	_, err = c.ec2.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	c.reaches(id, "running")
	_, err = c.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	inst = c.reaches(id, "terminated")
	require.Equal(t, "Client.UserInitiatedShutdown", *inst.StateReason.Code)
	require.NoFileExists(t, spec.Disks[0].Base)
	_, err = c.ec2.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
	require.Equal(t, "IncorrectInstanceState", codeOf(t, err))
	require.Equal(t, []string{"start", "reboot", "stop 4m0s", "start", "stop 4m0s", "forget"}, m.made())
}

func tagsOf(i ec2types.Instance) (out []string) {
	for _, t := range i.Tags {
		out = append(out, *t.Key+"="+*t.Value)
	}
	return out
}

func TestGuestPowersItselfOff(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("off")
	for _, tc := range []struct {
		behaviour ec2types.ShutdownBehavior
		off       bool
		want      ec2types.InstanceStateName
		reason    string
	}{
		{"stop", true, "stopped", "Client.InstanceInitiatedShutdown"},
		{"terminate", true, "terminated", "Client.InstanceInitiatedShutdown"},
		{"terminate", false, "stopped", "Server.InternalError"},
	} {
		in := launchOne(ami)
		in.InstanceInitiatedShutdownBehavior = tc.behaviour
		out, err := c.ec2.RunInstances(t.Context(), in)
		require.NoError(t, err)
		id := *out.Instances[0].InstanceId
		c.reaches(id, "running")
		c.fleet.exited(machine.Event{ID: id, PoweredOff: tc.off, Reason: "gone"})
		inst := c.reaches(id, tc.want)
		require.Equal(t, tc.reason, *inst.StateReason.Code)
		require.NotContains(t, tagsOf(inst), "rightimage:local-ssh=127.0.0.1:2222")
	}
	_ = m
}

func TestFirstBootThatBreaksEndsTheInstance(t *testing.T) {
	c, m := withMachines(t)
	m.fail = errors.New("no room")
	ami, _ := c.image("broken")
	out, err := c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.NoError(t, err)
	inst := c.reaches(*out.Instances[0].InstanceId, "terminated")
	require.Contains(t, *inst.StateReason.Message, "no room")
}

func TestRunInstancesIsIdempotent(t *testing.T) {
	c, m := withMachines(t)
	ami, _ := c.image("idem")
	in := launchOne(ami)
	in.MinCount, in.MaxCount, in.ClientToken = aws.Int32(2), aws.Int32(2), aws.String("once")
	first, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, first.Instances, 2)
	again, err := c.ec2.RunInstances(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, *first.ReservationId, *again.ReservationId)
	require.Len(t, again.Instances, 2)
	in.KeyName = aws.String("x")
	_, err = c.ec2.RunInstances(t.Context(), in)
	require.Equal(t, "IdempotentParameterMismatch", codeOf(t, err))
	for _, i := range first.Instances {
		c.reaches(*i.InstanceId, "running")
	}
	require.Equal(t, []string{"start", "start"}, m.made())
	all, err := c.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"running"}}}})
	require.NoError(t, err)
	require.Len(t, all.Reservations, 1)
	status, err := c.ec2.DescribeInstanceStatus(t.Context(), &ec2.DescribeInstanceStatusInput{})
	require.NoError(t, err)
	require.Len(t, status.InstanceStatuses, 2)
}

func TestServerEndsItsMachines(t *testing.T) {
	cfg := quiet(t)
	m := &fakeMachines{specs: map[string]machine.Spec{}}
	boot := func(s *Server) { s.fleet.machines, s.fleet.cfg.NoBoot = m, false }
	c := start(t, cfg, boot)
	ami, _ := c.image("end")
	out, err := c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.NoError(t, err)
	id := *out.Instances[0].InstanceId
	c.reaches(id, "running")
	c.stop()
	_, err = os.Stat(cfg.StateDir + "/local.json")
	require.ErrorIs(t, err, os.ErrNotExist)
	c = start(t, cfg, boot)
	require.Equal(t, ec2types.InstanceStateNameStopped, c.instance(id).State.Name)
	_, err = c.ec2.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	c.reaches(id, "running")
}

func TestTerminatedInstancesGoAfterAnHour(t *testing.T) {
	cfg := quiet(t)
	var skip atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skip.Load())) }
	c := start(t, cfg)
	ami, _ := c.image("gone")
	out, err := c.ec2.RunInstances(t.Context(), launchOne(ami))
	require.NoError(t, err)
	id := *out.Instances[0].InstanceId
	_, err = c.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	c.reaches(id, "terminated")
	require.NoError(t, c.fleet.purge())
	require.NotEmpty(t, c.instance(id))
	skip.Store(int64(61 * time.Minute))
	require.NoError(t, c.fleet.purge())
	_, err = c.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	require.Equal(t, "InvalidInstanceID.NotFound", codeOf(t, err))
}
