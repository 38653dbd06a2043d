// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
	"github.com/rightimage/packer-plugin-rightimage/platform/discover"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

type world struct {
	*cloudtest.World
	*discover.Service
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := cloudtest.New(t)
	d := discover.New(w.Launch)
	d.Patience = 0.001
	return world{w, d}
}

// look lists the cloud.
func (w world) look() discover.Report {
	w.T.Helper()
	r, err := w.Once(w.T.Context(), w.Cloud)
	require.NoError(w.T, err)
	return r
}

// byHand launches machines as anybody could.
func (w world) byHand(n int32, userData string) []string {
	w.T.Helper()
	in := &ec2.RunInstancesInput{ImageId: &w.Image, InstanceType: types.InstanceTypeT3Micro, MinCount: &n, MaxCount: &n,
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("by hand")}}}}}
	out, err := w.EC2.RunInstances(w.T.Context(), in)
	require.NoError(w.T, err)
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	for _, id := range ids {
		w.reaches(id, "running")
	}
	return ids
}

func (w world) reaches(id, state string) {
	w.T.Helper()
	require.Eventually(w.T, func() bool { return w.Cloudly()[id] == state }, 10*time.Second, 5*time.Millisecond)
}

func (w world) known() map[string]store.Instance {
	w.T.Helper()
	list, err := w.World.Fleet.DB.KnownInstances(w.T.Context(), fleet.DefaultAccount)
	require.NoError(w.T, err)
	byID := map[string]store.Instance{}
	for _, i := range list {
		_, twice := byID[i.ResourceUID]
		require.False(w.T, twice, "%s is there twice", i.ResourceUID)
		byID[i.ResourceUID] = i
	}
	return byID
}

func TestRawInstances(t *testing.T) {
	w := newWorld(t)
	require.Zero(t, w.look().News())
	ids := w.byHand(3, "")
	r := w.look()
	require.Equal(t, 3, r.Listed)
	require.Equal(t, 3, r.Appeared)
	raw := w.known()[ids[0]]
	require.Zero(t, raw.ServerID)
	require.Equal(t, wire.StateOperational, raw.State)
	require.Equal(t, "running", raw.CloudState)
	require.Equal(t, "by hand", raw.Name)
	require.Equal(t, w.Cloud.ID, raw.CloudID)
	require.Equal(t, w.Image, raw.ImageUID)
	require.Equal(t, "t3.micro", raw.InstanceType)
	require.NotEmpty(t, raw.PrivateIPs)
	require.NotEmpty(t, raw.Datacenter)
	require.Zero(t, w.look().News(), "a quiet cloud writes nothing")

	// Its states follow the cloud's.
	_, err := w.EC2.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: ids[:1]})
	require.NoError(t, err)
	w.reaches(ids[0], "stopped")
	require.Equal(t, 1, w.look().Changed)
	require.Equal(t, "stopped", w.known()[ids[0]].State)
	_, err = w.EC2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids[:2]})
	require.NoError(t, err)
	w.reaches(ids[0], "terminated")
	w.reaches(ids[1], "terminated")
	w.look()
	for _, id := range ids[:2] {
		require.Equal(t, wire.StateTerminated, w.known()[id].State)
		require.False(t, w.known()[id].EndedAt.IsZero())
	}
	require.Zero(t, w.look().News())

	// The platform can end it too, without an agent.
	require.NoError(t, w.Launch.Terminate(t.Context(), w.known()[ids[2]].ID, "ann"))
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateTerminated, w.known()[ids[2]].State)
}

// The listing comes first, then the machine enrols with a server's token.
func TestFoundThenEnrolled(t *testing.T) {
	w := newWorld(t)
	server := w.Server("web", func(s *fleet.ServerSpec) { s.Launch = store.Launch{} })
	doc, err := w.World.Fleet.UserData(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", "query", "")
	require.NoError(t, err)
	id := w.byHand(1, "")[0]
	w.look()
	raw := w.known()[id]
	require.NoError(t, w.World.Fleet.DB.AddTag(t.Context(), fleet.DefaultAccount, fleet.InstanceHref(raw), "found:it=true"))
	require.Zero(t, raw.ServerID)

	agent := w.AgentWith(id, doc).Boot()
	one := w.known()[id] // and only one
	require.Equal(t, server.ID, one.ServerID)
	require.Equal(t, w.Cloud.ID, one.CloudID, "the href is in the cloud that lists it")
	require.Equal(t, fleet.InstanceHref(one), agent.Self())
	require.Equal(t, "running", one.CloudState)
	tags, err := w.World.Fleet.DB.Tags(t.Context(), fleet.DefaultAccount, fleet.InstanceHref(one))
	require.NoError(t, err)
	require.Equal(t, []store.TagRow{{Href: fleet.InstanceHref(one), Name: "found:it=true"}}, tags)
	require.Contains(t, w.Trail(server), "is the instance that was found in the cloud before")
	require.Zero(t, w.look().Appeared)
	require.Equal(t, wire.StateOperational, w.StateOf(server))

	// Ended by somebody else: the server is inactive.
	_, err = w.EC2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	require.NoError(t, err)
	w.reaches(id, "terminated")
	w.look()
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Contains(t, w.Trail(server), "terminated in the cloud")
}

// The machine enrols first, then a listing shows it.
func TestEnrolledThenFound(t *testing.T) {
	for _, enrolment := range []string{wire.EnrolAttested, wire.EnrolLegacy} {
		t.Run(enrolment, func(t *testing.T) {
			w := newWorld(t)
			server := w.Server("web", func(s *fleet.ServerSpec) { s.Launch, s.Enrolment = store.Launch{}, enrolment })
			doc, err := w.World.Fleet.UserData(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", "query", "")
			require.NoError(t, err)
			id := w.byHand(1, "")[0]
			agent := w.AgentWith(id, doc)
			if enrolment == wire.EnrolAttested {
				agent.Boot()
			} else {
				require.NoError(t, agent.Login())
				require.NoError(t, agent.Declare())
			}
			before := agent.Self()
			r := w.look()
			require.Zero(t, r.Appeared)
			require.Equal(t, 1, r.Changed)
			one := w.known()[id]
			require.Equal(t, server.ID, one.ServerID)
			require.Equal(t, before, fleet.InstanceHref(one), "an href that an agent knows stays")
			require.Equal(t, w.Cloud.ID, one.SeenCloudID)
			require.Equal(t, "running", one.CloudState)
			if enrolment == wire.EnrolAttested {
				require.Equal(t, w.Cloud.ID, one.CloudID, "its document tells the region")
			}
			require.Zero(t, w.look().News())
		})
	}
}

// A legacy agent that comes after the listing keeps the href of its token.
func TestFoundThenEnrolledLegacy(t *testing.T) {
	w := newWorld(t)
	server := w.Server("web", func(s *fleet.ServerSpec) { s.Launch, s.Enrolment = store.Launch{}, wire.EnrolLegacy })
	doc, err := w.World.Fleet.UserData(t.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "web", "query", "")
	require.NoError(t, err)
	id := w.byHand(1, "")[0]
	w.look()
	agent := w.AgentWith(id, doc)
	require.NoError(t, agent.Login())
	before := agent.Self() // it asks before it declares itself
	require.NoError(t, agent.Declare())
	one := w.known()[id]
	require.Equal(t, server.ID, one.ServerID)
	require.Equal(t, before, fleet.InstanceHref(one))
	require.Zero(t, w.look().Appeared)
}

// What vanishes must be missing twice, since not all who answer know all.
func TestVanished(t *testing.T) {
	w := newWorld(t)
	id := w.byHand(1, "")[0]
	w.look()
	// Only a listing of our own can lose an instance of the local cloud: an
	// endpoint without it.
	other := cloudtest.New(t)
	lost := w.Cloud
	lost.EndpointURL, lost.UpdatedAt = other.Local.Info().Endpoint, w.Cloud.UpdatedAt.Add(time.Second)
	for i, want := range []int{0, 1, 0} {
		time.Sleep(2 * time.Millisecond) // after the last write
		r, err := w.Once(t.Context(), lost)
		require.NoError(t, err)
		require.Equal(t, want, r.Vanished, "listing %d", i)
	}
	gone := w.known()[id]
	require.Equal(t, wire.StateTerminated, gone.State)
	require.False(t, gone.GoneAt.IsZero())
}

// The answer to a launch is lost, and the process with it: discovery recognises
// the machine by its client token.
func TestClaimsLostLaunch(t *testing.T) {
	w := newWorld(t)
	server := w.Server("web")
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	r := w.look()
	require.Zero(t, r.Appeared, "not a raw instance")
	inst = w.Instance(inst.ID)
	require.NotEmpty(t, inst.ResourceUID)
	w.Agent(inst.ResourceUID).Boot()
	require.Equal(t, wire.StateOperational, w.StateOf(server))
}

// A machine that comes up after its launch was given up is ended.
func TestEndsOrphans(t *testing.T) {
	w := newWorld(t)
	server := w.Server("web")
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	hidden := w.Fault(fault.Rule{Action: "DescribeInstances", Kind: fault.Error, Code: "InvalidInstanceID.NotFound"})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	// The books say that it has ended, wrongly.
	job, err := w.World.Fleet.DB.ActiveJob(t.Context(), inst.ID)
	require.NoError(t, err)
	require.NoError(t, w.World.Fleet.DB.ReplaceJob(t.Context(), job.ID, w.World.Fleet.Now()))
	require.NoError(t, w.World.Fleet.DB.InTx(t.Context(), func(q *store.Queries) error {
		return w.World.Fleet.SetState(t.Context(), q, inst.ID, wire.StateTerminated, "test")
	}))
	w.Local.Faults().Remove(hidden.ID)
	require.Equal(t, 1, w.Alive())
	w.look()
	require.NoError(t, w.Launch.Watch(t.Context()))
	w.Idle()
	require.Zero(t, w.Alive())
}

func TestThrottledListing(t *testing.T) {
	w := newWorld(t)
	w.byHand(2, "")
	w.Fault(fault.Rule{Action: "DescribeInstances", Kind: fault.Throttle, Times: 3})
	r := w.look()
	require.Equal(t, 3, r.Throttled)
	require.Equal(t, 2, r.Appeared)

	denied := w.Fault(fault.Rule{Action: "DescribeInstances", Kind: fault.Deny})
	_, err := w.Once(t.Context(), w.Cloud)
	require.ErrorContains(t, err, "UnauthorizedOperation")
	c, err := w.World.Fleet.DB.Cloud(t.Context(), w.Cloud.ID)
	require.NoError(t, err)
	require.Contains(t, c.DiscoverError, "UnauthorizedOperation")
	require.Len(t, w.known(), 2, "a failed listing says nothing about what has vanished")
	w.Local.Faults().Remove(denied.ID)
	w.look()
	c, err = w.World.Fleet.DB.Cloud(t.Context(), w.Cloud.ID)
	require.NoError(t, err)
	require.Empty(t, c.DiscoverError)
	require.False(t, c.DiscoveredAt.IsZero())
	require.False(t, c.CataloguedAt.IsZero())
}

func TestCatalogue(t *testing.T) {
	w := newWorld(t)
	w.look()
	db := w.World.Fleet.DB
	images, err := db.Images(t.Context(), w.Cloud.ID, false)
	require.NoError(t, err)
	require.Len(t, images, 1)
	require.Equal(t, w.Image, images[0].ResourceUID)
	require.Equal(t, "x86_64", images[0].CPUArchitecture)
	require.Equal(t, "private", images[0].Visibility)
	for kind, want := range map[string]string{store.KindInstanceType: "t3.micro", store.KindDatacenter: cloudtest.Region + "a"} {
		r, err := db.CloudResource(t.Context(), w.Cloud.ID, kind, want)
		require.NoError(t, err, kind)
		require.NotEmpty(t, r.UID)
	}
	for _, kind := range []string{store.KindSubnet, store.KindSecurityGroup} {
		list, err := db.CloudResources(t.Context(), w.Cloud.ID, kind, false)
		require.NoError(t, err)
		require.NotEmpty(t, list, kind)
	}
	kind, err := db.CloudResource(t.Context(), w.Cloud.ID, store.KindInstanceType, "t3.micro")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"cpu_count": "2", "memory": "1024", "cpu_architecture": "x86_64"}, kind.Attributes)

	_, err = w.EC2.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &w.Image})
	require.NoError(t, err)
	w.look()
	gone, err := db.Images(t.Context(), w.Cloud.ID, false)
	require.NoError(t, err)
	require.Empty(t, gone)
	all, err := db.Images(t.Context(), w.Cloud.ID, true)
	require.NoError(t, err)
	require.Equal(t, images[0].UID, all[0].UID)
	require.False(t, all[0].GoneAt.IsZero())
}

// More machines than fit into one page and one transaction.
func TestManyPages(t *testing.T) {
	w := newWorld(t)
	db := w.World.Fleet.DB
	for range 6 {
		w.byHand(20, "")
	}
	r := w.look()
	require.Equal(t, 120, r.Appeared)
	list, err := db.InstancesSeenIn(t.Context(), w.Cloud.ID)
	require.NoError(t, err)
	require.Len(t, list, 120)
	require.Zero(t, w.look().News())
}

// Two replicas: one lists; when it goes the other does. A new instance is seen
// within one interval.
func TestRun(t *testing.T) {
	w := newWorld(t)
	c := w.Cloud
	c.Discover = 5 * time.Second
	require.NoError(t, w.World.Fleet.DB.UpdateCloud(t.Context(), c, w.World.Fleet.Now()))
	var listings atomic.Int64
	w.Fault(fault.Rule{Action: "DescribeInstances", Kind: fault.Delay, DelayMS: 1, OnHit: func() { listings.Add(1) }})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{}, 2)
	for i := range 2 {
		m := launch.New(w.Open(), slog.New(slog.DiscardHandler))
		d := discover.New(m)
		go func() { d.Run(ctx); done <- struct{}{} }()
		_ = i
	}
	require.Eventually(t, func() bool { return listings.Load() > 0 }, 10*time.Second, 10*time.Millisecond)
	id := w.byHand(1, "")[0]
	begin := time.Now()
	require.Eventually(t, func() bool {
		list, err := w.World.Fleet.DB.InstancesByResource(t.Context(), fleet.DefaultAccount, id)
		return err == nil && len(list) == 1
	}, 7*time.Second, 20*time.Millisecond, "within one interval")
	t.Logf("seen after %s", time.Since(begin))
	stop()
	for range 2 {
		<-done
	}
}
