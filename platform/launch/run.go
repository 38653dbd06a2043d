// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Steps of a launch.
const (
	stepRun    = "run"    // ask for the machine
	stepAppear = "appear" // wait until it runs
	stepSweep  = "sweep"  // make sure that a failed launch left none behind
)

// dial returns the client of a job's cloud.
func (s *Service) dial(ctx context.Context, j *store.MachineJob) (*ec2.Client, error) {
	cloud, err := s.Fleet.DB.Cloud(ctx, j.CloudID)
	if err != nil {
		return nil, err
	}
	return s.Clients.EC2(ctx, cloud)
}

// run asks the cloud for the machine, again and again with the same client
// token, so that it comes once. Its id is written together with the permission
// to enrol.
func (s *Service) run(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	var o order
	if err := json.Unmarshal(j.Detail, &o); err != nil {
		return s.failed(inst, err.Error())
	}
	if s.now().Sub(j.CreatedAt) > s.Limits.Launch {
		return s.giveUp(j, o, inst, fmt.Sprintf("no machine within %s; the last answer was: %s", s.Limits.Launch, j.LastError))
	}
	doc, err := s.Fleet.Keys.Open(documentPlace(o.ClientToken), j.Sealed)
	if err != nil {
		return s.giveUp(j, o, inst, fmt.Sprintf("user-data: %v", err))
	}
	client, err := s.dial(ctx, j)
	if err != nil {
		return s.notNow(j, o, inst, "find credentials", err, later)
	}
	out, err := client.RunInstances(ctx, o.request(doc), awsx.Once)
	if err != nil {
		return s.notNow(j, o, inst, "RunInstances", err, meaning(err))
	}
	if len(out.Instances) == 0 {
		return s.notNow(j, o, inst, "RunInstances", errors.New("the answer names no instance"), unsure)
	}
	return s.launched(j, o, out.Instances[0])
}

// launched is the verdict when the cloud has named the machine.
func (s *Service) launched(j *store.MachineJob, o order, machine types.Instance) verdict {
	id, state := aws.ToString(machine.InstanceId), stateOf(machine)
	cloudID, instance, by := j.CloudID, j.InstanceID, j.By
	return verdict{step: stepAppear, after: s.glance(j), keep: true, write: func(ctx context.Context, q *store.Queries) error {
		first, err := s.Fleet.Launched(ctx, q, instance, id, cloudID, state)
		if errors.Is(err, fleet.ErrTaken) {
			return s.taken(ctx, q, instance, id, err)
		}
		if err != nil || !first {
			return err
		}
		if err := q.WakeJob(ctx, instance, s.now()); err != nil { // of a termination that waits for the id
			return err
		}
		inst, err := q.Instance(ctx, instance)
		if err != nil {
			return err
		}
		return s.Fleet.Remark(ctx, q, inst, fleet.Remark{By: by, Summary: id + " launched", Detail: fmt.Sprintf("image: %s\ninstance type: %s\n", o.Image, o.Type)})
	}}
}

// taken ends a launch whose token another machine has used: neither is to be
// trusted. The one that was launched is found by its client token and ended.
func (s *Service) taken(ctx context.Context, q *store.Queries, instance int64, launched string, why error) error {
	inst, err := q.Instance(ctx, instance)
	if err != nil {
		return err
	}
	if err := s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Security", Summary: "launch given up: " + why.Error(),
		Detail: fmt.Sprintf("launched: %s\nenrolled: %s\nThe token is revoked. Find out how the user-data became known.\n", launched, inst.ResourceUID)}); err != nil {
		return err
	}
	if err := s.Fleet.SetState(ctx, q, instance, wire.StateTerminated, "token was stolen"); err != nil {
		return err
	}
	raw := store.Instance{AccountID: inst.AccountID, CloudID: inst.CloudID, SeenCloudID: inst.CloudID, UID: fleet.NewUID(), ResourceUID: launched,
		Cloud: "ec2", State: wire.StatePending, CloudState: "pending", Name: inst.Name, ImageUID: inst.ImageUID, InstanceType: inst.InstanceType, LaunchedAt: inst.LaunchedAt}
	if raw.ID, err = q.CreateRawInstance(ctx, raw, s.now()); err != nil {
		return err
	}
	return s.addEnd(ctx, q, raw, store.JobTerminate, ending{Now: true}, "")
}

// request is what is asked of EC2; the same each time.
func (o order) request(doc string) *ec2.RunInstancesInput {
	var tags []types.Tag
	for _, key := range slices.Sorted(maps.Keys(o.Tags)) {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(o.Tags[key])})
	}
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(o.Image), InstanceType: types.InstanceType(o.Type), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		ClientToken: aws.String(o.ClientToken), UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(doc))),
		// A machine whose agent powers it off is stopped, and terminated by us.
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorStop,
		MetadataOptions:                   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired},
		SecurityGroupIds:                  o.Groups,
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeInstance, Tags: tags}, {ResourceType: types.ResourceTypeVolume, Tags: tags},
		},
	}
	if o.Subnet != "" {
		in.SubnetId = aws.String(o.Subnet)
	}
	if o.Key != "" {
		in.KeyName = aws.String(o.Key)
	}
	return in
}

// notNow decides what a failed call means for a launch.
func (s *Service) notNow(j *store.MachineJob, o order, inst store.Instance, op string, err error, what outcome) verdict {
	text := failure(op, err)
	switch what {
	case later, unsure:
		if what == unsure && !o.Unsure {
			o.Unsure = true
			j.Detail, _ = json.Marshal(o)
		}
		return verdict{after: s.pace(backoff(j.Attempts, err)), problem: text}
	default:
		return s.giveUp(j, o, inst, text)
	}
}

// giveUp ends a launch: at once if no call can have been carried out, else
// after having made sure.
func (s *Service) giveUp(j *store.MachineJob, o order, inst store.Instance, reason string) verdict {
	if !o.Unsure {
		return s.failed(inst, reason)
	}
	o.Reason = reason
	j.Detail, _ = json.Marshal(o)
	return verdict{step: stepSweep, after: s.pace(sweepPause)}
}

// failed ends the job and, in our books, the instance: its token is revoked and
// its server is inactive again.
func (s *Service) failed(inst store.Instance, reason string) verdict {
	return verdict{outcome: store.JobFailed, problem: reason, write: func(ctx context.Context, q *store.Queries) error {
		if err := s.Fleet.Remark(ctx, q, inst, fleet.Remark{Notify: "Error", Summary: "launch failed: " + reason, Detail: reason + "\n"}); err != nil {
			return err
		}
		return s.Fleet.SetState(ctx, q, inst.ID, wire.StateTerminated, "launch failed")
	}}
}

// A new machine may take a moment to be seen by all who are asked.
const (
	sweepPause = 20 * time.Second
	sweepLooks = 4
)

// sweep looks for a machine that a lost call may have launched, and terminates
// it.
func (s *Service) sweep(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	var o order
	if err := json.Unmarshal(j.Detail, &o); err != nil {
		return s.failed(inst, err.Error())
	}
	client, err := s.dial(ctx, j)
	if err != nil {
		return verdict{after: s.pace(backoff(j.Attempts, err)), problem: failure("find credentials", err)}
	}
	machine, err := byClientToken(ctx, client, o.ClientToken)
	if err != nil {
		return verdict{after: s.pace(backoff(j.Attempts, err)), problem: failure("DescribeInstances", err)}
	}
	switch {
	case machine == nil:
		if o.Looks++; o.Looks >= sweepLooks {
			return s.failed(inst, o.Reason)
		}
	case over(stateOf(*machine)):
		return s.failed(inst, o.Reason)
	default:
		o.Looks = 0
		if _, err := client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{aws.ToString(machine.InstanceId)}}, awsx.Once); err != nil {
			return verdict{after: s.pace(backoff(j.Attempts, err)), problem: failure("TerminateInstances", err)}
		}
	}
	j.Detail, _ = json.Marshal(o)
	return verdict{after: s.pace(sweepPause)}
}

// appearTime bounds the wait for a machine that was launched to run.
const appearTime = 20 * time.Minute

// appear waits until a launched machine runs. Some fail in between, for want of
// a volume or of capacity, and only then say so.
func (s *Service) appear(ctx context.Context, j *store.MachineJob, inst store.Instance) verdict {
	if !inst.EndedAt.IsZero() { // already, by its own agent or because of a theft
		return verdict{outcome: store.JobFailed, problem: fleet.NameOf(inst) + " has ended already"}
	}
	machine, later, err := s.look(ctx, j, inst)
	if err != nil {
		return later
	}
	waited := s.now().Sub(j.StepAt)
	if machine == nil {
		if waited > appearTime {
			return s.failed(inst, inst.ResourceUID+" has vanished")
		}
		return verdict{after: s.glance(j)}
	}
	state := stateOf(*machine)
	switch {
	case over(state):
		reason := inst.ResourceUID + " ended before it ran"
		if machine.StateReason != nil {
			reason += ": " + aws.ToString(machine.StateReason.Message)
		}
		v := s.failed(inst, reason)
		end := v.write
		v.write = func(ctx context.Context, q *store.Queries) error {
			return errors.Join(q.SetCloudState(ctx, inst.ID, state, s.now()), end(ctx, q))
		}
		return v
	case state == "pending" && waited <= appearTime:
		return verdict{after: s.glance(j)}
	}
	return verdict{outcome: store.JobDone, write: func(ctx context.Context, q *store.Queries) error {
		if err := s.see(ctx, q, inst.ID, *machine); err != nil || inst.ServerID != 0 {
			return err
		}
		return s.started(ctx, q, inst.ID) // nobody else reports it
	}}
}
