// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// DefaultType is the instance type when neither the server nor its
// MultiCloudImage names one.
const DefaultType = "t3.small"

// order is the detail of a launch job: the request, so that a repetition is the
// same one, and what is known of its fate.
type order struct {
	Image       string            `json:"image"`
	Type        string            `json:"type"`
	Subnet      string            `json:"subnet,omitempty"`
	Groups      []string          `json:"groups,omitempty"`
	Key         string            `json:"key,omitempty"`
	Tags        map[string]string `json:"tags"`
	ClientToken string            `json:"client_token"`
	// Unsure tells that a call may have been carried out without our hearing
	// of it.
	Unsure bool `json:"unsure,omitempty"`
	// Looks counts how often no machine was found after the last call.
	Looks int `json:"looks,omitempty"`
	// Reason is why the launch has failed, while it is made sure that it has.
	Reason string `json:"reason,omitempty"`
}

// Launch launches a machine for a server. inputs, in their 2.0 form, are for
// this machine only, and by says in the audit entry who asked. A refusal of the
// cloud is told at once; while the cloud is throttling or away the instance
// stays pending, and the launch goes on without the caller.
func (s *Service) Launch(ctx context.Context, serverID int64, inputs map[string]string, by string) (store.Instance, error) {
	values, err := parseInputs(inputs)
	if err != nil {
		return store.Instance{}, err
	}
	return s.launch(ctx, func(ctx context.Context, q *store.Queries) (store.MachineJob, error) {
		return s.order(ctx, q, serverID, values, by)
	})
}

// launch makes a job and does its first step.
func (s *Service) launch(ctx context.Context, order func(context.Context, *store.Queries) (store.MachineJob, error)) (store.Instance, error) {
	var j store.MachineJob
	err := s.Fleet.DB.InTx(ctx, func(q *store.Queries) (err error) {
		j, err = order(ctx, q)
		return err
	})
	if err != nil {
		return store.Instance{}, err
	}
	// Whoever asked may hang up; the call must not be cut off for that.
	if err := s.work(context.WithoutCancel(ctx), j.ID); err != nil {
		return store.Instance{}, err
	}
	if j, err = s.Fleet.DB.MachineJob(ctx, j.ID); err != nil {
		return store.Instance{}, err
	}
	inst, err := s.Fleet.DB.Instance(ctx, j.InstanceID)
	if err == nil && j.Outcome == store.JobFailed {
		err = &fleet.RefusedError{Text: j.LastError}
	}
	return inst, err
}

func parseInputs(inputs map[string]string) (map[string]rightscript.Value, error) {
	values := map[string]rightscript.Value{}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		v, err := rightscript.ParseValue(inputs[name])
		if err != nil {
			return nil, &fleet.InvalidError{Text: fmt.Sprintf("input %q: %v", name, err)}
		}
		values[name] = v
	}
	return values, nil
}

// order decides how a server's machine is launched, and makes the job.
func (s *Service) order(ctx context.Context, q *store.Queries, serverID int64, inputs map[string]rightscript.Value, by string) (j store.MachineJob, err error) {
	server, err := q.Server(ctx, serverID)
	if err != nil {
		return j, err
	}
	cloud, err := usableCloud(ctx, q, server)
	if err != nil {
		return j, err
	}
	chosen, err := choose(ctx, q, server, cloud)
	if err != nil {
		return j, err
	}
	id, err := s.Fleet.BeginLaunch(ctx, q, by, server, inputs)
	if err != nil {
		return j, err
	}
	doc, err := s.userData(ctx, q, server, chosen, id)
	if err != nil {
		return j, err
	}
	platform, err := platformID(ctx, q)
	if err != nil {
		return j, err
	}
	o := order{
		Image: chosen.image, Type: chosen.kind, Subnet: server.SubnetUID, Groups: server.SecurityGroupUIDs, Key: server.SSHKeyUID,
		ClientToken: fmt.Sprintf(TokenPrefix+"%s-%s-%d", platform, id.Instance.UID, id.TokenID),
		Tags:        map[string]string{"Name": server.Name, TagPlatform: platform, TagInstance: id.Instance.UID, TagServer: fmt.Sprint(server.ID)},
	}
	inst := id.Instance
	inst.Name = server.Name
	return s.begun(ctx, q, inst, cloud, o, doc, fleet.Remark{By: by, Summary: fmt.Sprintf("launch of server %q requested", server.Name)})
}

// begun writes that an instance is being launched, and makes the job.
func (s *Service) begun(ctx context.Context, q *store.Queries, inst store.Instance, cloud store.Cloud, o order, doc string, r fleet.Remark) (j store.MachineJob, err error) {
	inst.CloudID, inst.ClientToken, inst.ImageUID, inst.InstanceType, inst.LaunchedAt = cloud.ID, o.ClientToken, o.Image, o.Type, s.now()
	if err := q.SetLaunch(ctx, inst, s.now()); err != nil {
		return j, err
	}
	j = store.MachineJob{AccountID: inst.AccountID, CloudID: cloud.ID, InstanceID: inst.ID, Kind: store.JobLaunch, Step: stepRun,
		Sealed: s.Fleet.Keys.Seal(documentPlace(o.ClientToken), doc), By: r.By}
	if j.Detail, err = json.Marshal(o); err != nil {
		return j, err
	}
	if j.ID, err = q.CreateMachineJob(ctx, j, s.now()); err != nil {
		return j, fmt.Errorf("create job: %w", err)
	}
	r.Detail = fmt.Sprintf("cloud: %s\nimage: %s\ninstance type: %s\n", cloud.Name, o.Image, o.Type)
	return j, s.Fleet.Remark(ctx, q, inst, r)
}

func documentPlace(clientToken string) string { return "user-data " + clientToken }

// Tags of the machines that the platform launches, for people who look at the
// cloud; the platform itself goes by the client token.
const (
	TagPlatform = "rightscaled:platform"
	TagInstance = "rightscaled:instance"
	TagServer   = "rightscaled:server"
)

// TokenPrefix begins the client tokens of the platform's launches.
const TokenPrefix = "rightscaled-"

// platformID tells this platform's machines from those of another one.
func platformID(ctx context.Context, q *store.Queries) (string, error) {
	const setting = "platform_id"
	id, err := q.Setting(ctx, setting)
	if err != nil || id != "" {
		return id, err
	}
	id = fleet.NewUID()
	return id, q.SetSetting(ctx, setting, id)
}

// usableCloud is the cloud of a server, if the platform can act there.
func usableCloud(ctx context.Context, q *store.Queries, server store.Server) (store.Cloud, error) {
	cloud, err := q.Cloud(ctx, server.CloudID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return cloud, noCredentials(fmt.Sprintf("the cloud of server %q does not exist any more; choose another one", server.Name))
	case err != nil:
		return cloud, err
	case cloud.Credentials == store.CredentialsNone:
		return cloud, noCredentials(fmt.Sprintf("no cloud credentials: server %q is in cloud %q, which has none; make a cloud with \"rightscaled cloud add\" and choose it for the server, or launch by hand with \"rightscaled server user-data\"", server.Name, cloud.Name))
	}
	return cloud, nil
}

// CanLaunch tells whether a server is in a cloud that the platform can launch in.
func (s *Service) CanLaunch(ctx context.Context, server store.Server) bool {
	_, err := usableCloud(ctx, &s.Fleet.DB.Queries, server)
	return err == nil
}

// choice is what the MultiCloudImage and the server together say.
type choice struct {
	image string
	kind  string // instance type
	own   string // the user's own user-data
	mci   int64
}

// choose takes the server's own image, else that of its MultiCloudImage, else
// that of the default one of its ServerTemplate.
func choose(ctx context.Context, q *store.Queries, server store.Server, cloud store.Cloud) (choice, error) {
	c := choice{image: server.ImageUID, kind: server.InstanceType, own: server.UserData, mci: server.MCIID}
	if c.mci == 0 {
		images, err := q.MultiCloudImagesOf(ctx, server.TemplateID)
		if err != nil {
			return c, err
		}
		if len(images) > 0 {
			c.mci = images[0].ID
		}
	}
	if c.mci != 0 {
		settings, err := q.MCISettings(ctx, c.mci)
		if err != nil {
			return c, err
		}
		for _, one := range settings {
			if one.CloudID != cloud.ID {
				continue
			}
			if c.image == "" {
				c.image = one.ImageUID
			}
			if c.kind == "" {
				c.kind = one.InstanceType
			}
			if c.own == "" {
				c.own = one.UserData
			}
		}
	}
	if c.image == "" {
		return c, &fleet.InvalidError{Text: fmt.Sprintf("server %q has no image for cloud %q: give it one (\"rightscaled server set %s --image ami-...\"), or a setting of its MultiCloudImage for that cloud", server.Name, cloud.Name, server.Name)}
	}
	if c.kind == "" {
		c.kind = DefaultType
	}
	return c, nil
}
