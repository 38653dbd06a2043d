// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type stateChangeReply struct {
	meta
	Instances set[stateChange] `xml:"instancesSet"`
}

type stateChange struct {
	InstanceID string    `xml:"instanceId"`
	Current    stateItem `xml:"currentState"`
	Previous   stateItem `xml:"previousState"`
}

// transition says how an action changes the state of an instance.
type transition struct {
	verb string            // for the refusal: "from which it can be <verb>"
	next map[string]string // from state to state; the same state: nothing to do
	mark func(*store.Instance)
	act  func(id string)
	// refuse says what else speaks against it; nil: nothing.
	refuse func(store.Instance) error
}

func (s *Service) startInstances(r *request) (reply, error) {
	return s.changeState(r, transition{
		verb: "started",
		next: map[string]string{
			store.InstanceStopped: store.InstancePending, store.InstancePending: store.InstancePending, store.InstanceRunning: store.InstanceRunning,
		},
		mark: func(i *store.Instance) {
			i.LaunchTime = s.Store.Now().UTC()
			i.Transition, i.StateCode, i.StateMessage = "", "", ""
			i.PublicIP = publicAddress(*i)
		},
		act: func(id string) { s.Fleet.Launch(r.Region, id) },
	})
}

func (s *Service) stopInstances(r *request) (reply, error) {
	force := r.flag("Force", false) || r.flag("SkipOsShutdown", false)
	return s.changeState(r, transition{
		verb: "stopped",
		next: map[string]string{
			store.InstanceRunning: store.InstanceStopping, store.InstanceStopping: store.InstanceStopping, store.InstanceStopped: store.InstanceStopped,
		},
		mark: s.byUser,
		act:  func(id string) { s.Fleet.Stop(r.Region, id, force) },
		refuse: func(i store.Instance) error {
			switch {
			case i.SpotRequestID != "":
				return call.Errorf("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", i.ID)
			case i.NoStop:
				return call.Errorf("OperationNotPermitted", "The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", i.ID)
			}
			return nil
		},
	})
}

func (s *Service) terminateInstances(r *request) (reply, error) {
	r.ignore("SkipOsShutdown", "Force")
	return s.changeState(r, s.termination(r.Region))
}

func (s *Service) termination(region string) transition {
	ends := map[string]string{store.InstanceTerminated: store.InstanceTerminated}
	for _, from := range []string{store.InstancePending, store.InstanceRunning, store.InstanceStopping, store.InstanceStopped, store.InstanceShuttingDown} {
		ends[from] = store.InstanceShuttingDown
	}
	return transition{
		verb: "terminated", next: ends, mark: s.byUser,
		act: func(id string) { s.Fleet.Terminate(region, id) },
		refuse: func(i store.Instance) error {
			if i.NoTermination {
				return call.Errorf("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.ID)
			}
			return nil
		},
	}
}

func (s *Service) rebootInstances(r *request) (reply, error) {
	_, err := s.changeState(r, transition{
		verb: "rebooted",
		next: map[string]string{store.InstanceRunning: store.InstanceRunning},
		act:  func(id string) { s.Fleet.Reboot(r.Region, id) },
	})
	if err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}

func (s *Service) byUser(i *store.Instance) {
	i.StateCode, i.StateMessage = "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"
	i.Transition = fmt.Sprintf("User initiated (%s)", s.Store.Now().UTC().Format("2006-01-02 15:04:05 MST"))
}

// changeState checks all named instances, then changes all of them or none.
func (s *Service) changeState(r *request, t transition) (reply, error) {
	ids := r.list("InstanceId")
	if len(ids) == 0 {
		r.fail(missing("InstanceId"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	return s.transit(r.Region, ids, t)
}

func (s *Service) transit(region string, ids []string, t transition) (reply, error) {
	out := &stateChangeReply{}
	var act []string
	err := s.Store.Update(region, func(reg *store.Region) error {
		rows, err := findInstances(reg, ids)
		if err != nil {
			return err
		}
		for _, i := range rows {
			if t.next[i.State] == "" {
				return call.Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", i.ID, t.verb)
			}
			if t.refuse != nil {
				if err := t.refuse(i); err != nil {
					return err
				}
			}
		}
		for _, i := range rows {
			was, next := i.State, t.next[i.State]
			out.Instances.Items = append(out.Instances.Items, stateChange{i.ID, stateOf(next), stateOf(was)})
			if next == was && t.mark != nil {
				continue
			}
			act = append(act, i.ID)
			if t.mark == nil {
				continue
			}
			t.mark(&i)
			i.State = next
			if err := reg.Instances.Put(i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range act {
		t.act(id)
	}
	return out, nil
}

func findInstances(reg *store.Region, ids []string) ([]store.Instance, error) {
	var rows []store.Instance
	var absent []string
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		if err := wellFormed("i", "InvalidInstanceID", id); err != nil {
			return nil, err
		}
		i, ok := reg.Instances.Get(id)
		if !ok {
			absent = append(absent, id)
		}
		rows = append(rows, i)
	}
	switch len(absent) {
	case 0:
		return rows, nil
	case 1:
		return nil, call.Errorf("InvalidInstanceID.NotFound", "%s", noInstance(absent[0]))
	}
	return nil, call.Errorf("InvalidInstanceID.NotFound", "The instance IDs '%s' do not exist", strings.Join(absent, ", "))
}

type consoleReply struct {
	meta
	InstanceID string `xml:"instanceId"`
	Timestamp  string `xml:"timestamp"`
	Output     string `xml:"output,omitempty"`
}

// maxConsole is what EC2 keeps of the console.
const maxConsole = 64 << 10

func (s *Service) getConsoleOutput(r *request) (reply, error) {
	id := r.str("InstanceId")
	r.ignore("Latest")
	if id == "" {
		r.fail(missing("InstanceId"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		_, err := findInstances(reg, []string{id})
		return err
	})
	if err != nil {
		return nil, err
	}
	text, err := s.Fleet.Console(r.Region, id)
	if err != nil {
		return nil, err
	}
	if len(text) > maxConsole {
		text = text[len(text)-maxConsole:]
	}
	return &consoleReply{InstanceID: id, Timestamp: stamp(s.Store.Now()), Output: base64.StdEncoding.EncodeToString(text)}, nil
}

type instanceStatusReply struct {
	meta
	Statuses  set[statusItem] `xml:"instanceStatusSet"`
	NextToken string          `xml:"nextToken,omitempty"`
}

type statusItem struct {
	InstanceID string    `xml:"instanceId"`
	Zone       string    `xml:"availabilityZone"`
	State      stateItem `xml:"instanceState"`
	Instance   string    `xml:"instanceStatus>status"`
	System     string    `xml:"systemStatus>status"`
}

// describeInstanceStatus says "ok" for every running instance: the local cloud
// does no reachability checks.
func (s *Service) describeInstanceStatus(r *request) (reply, error) {
	all := r.flag("IncludeAllInstances", false)
	attrs := s.instanceFilters()
	rows, next, err := s.instances(r, attributes[store.Instance]{fields: map[string]func(store.Instance) []string{
		"availability-zone":   attrs.fields["availability-zone"],
		"instance-state-name": attrs.fields["instance-state-name"],
		"instance-state-code": attrs.fields["instance-state-code"],
	}})
	if err != nil {
		return nil, err
	}
	out := &instanceStatusReply{NextToken: next}
	for _, i := range rows {
		status := "not-applicable"
		if i.State == store.InstanceRunning {
			status = "ok"
		} else if !all {
			continue
		}
		out.Statuses.Items = append(out.Statuses.Items, statusItem{i.ID, i.Zone, stateOf(i.State), status, status})
	}
	return out, nil
}
