// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"cmp"
	"context"
	"fmt"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// LaunchRaw launches a machine without a server: a raw instance, with the
// user-data that is given and nothing else. by says in the audit entry who
// asked. It ends as Launch does.
func (s *Service) LaunchRaw(ctx context.Context, account int64, r fleet.RawLaunch, by string) (store.Instance, error) {
	return s.launch(ctx, func(ctx context.Context, q *store.Queries) (store.MachineJob, error) {
		return s.orderRaw(ctx, q, account, r, by)
	})
}

func (s *Service) orderRaw(ctx context.Context, q *store.Queries, account int64, r fleet.RawLaunch, by string) (j store.MachineJob, err error) {
	cloud, err := q.Cloud(ctx, r.CloudID)
	switch {
	case err == nil && cloud.AccountID != account:
		return j, fmt.Errorf("cloud %d: %w", r.CloudID, store.ErrNotFound)
	case err != nil:
		return j, err
	case cloud.Credentials == store.CredentialsNone:
		return j, noCredentials(fmt.Sprintf("no cloud credentials: cloud %q has none; make a cloud with \"rightscaled cloud add\"", cloud.Name))
	case r.ImageUID == "":
		return j, &fleet.InvalidError{Text: "an instance without a server needs an image"}
	}
	inst, err := s.Fleet.BeginRaw(ctx, q, account, r)
	if err != nil {
		return j, err
	}
	platform, err := platformID(ctx, q)
	if err != nil {
		return j, err
	}
	o := order{
		Image: r.ImageUID, Type: cmp.Or(r.InstanceType, DefaultType), Subnet: r.SubnetUID, Groups: r.SecurityGroupUIDs, Key: r.SSHKeyUID,
		ClientToken: fmt.Sprintf(TokenPrefix+"%s-%s", platform, inst.UID),
		Tags:        map[string]string{"Name": r.Name, TagPlatform: platform, TagInstance: inst.UID},
	}
	inst.Name = r.Name
	return s.begun(ctx, q, inst, cloud, o, r.UserData, fleet.Remark{By: by, Summary: fmt.Sprintf("launch of instance %q without a server requested", r.Name)})
}
