// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"context"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// check looks into the database: each agent has enrolled exactly once, as the
// instance that it is, and is operational.
func (s *storm) check(ctx context.Context) error {
	entries, err := s.fleet.DB.AuditEntries(ctx, store.AuditFilter{AccountID: fleet.DefaultAccount})
	if err != nil {
		return err
	}
	enrolled, attested := map[int64]int{}, map[int64]int{}
	for _, e := range entries {
		switch {
		case strings.Contains(e.Summary, " enrolled with token "):
			enrolled[e.ServerID]++
		case strings.Contains(e.Summary, " attested; token "):
			attested[e.ServerID]++
		case e.Notify == "Security":
			return fmt.Errorf("the platform refused an agent: %s", e.Summary)
		}
	}
	for _, m := range s.machines {
		server, err := s.fleet.DB.ServerByName(ctx, fleet.DefaultAccount, m.server)
		if err != nil {
			return err
		}
		instances, err := s.fleet.DB.InstancesOfServer(ctx, server.ID)
		if err != nil {
			return err
		}
		switch {
		case len(instances) != 1 || instances[0].ResourceUID != m.uid:
			return fmt.Errorf("%s: want instance %s, got %+v", m.server, m.uid, instances)
		case instances[0].State != wire.StateOperational || server.State != wire.StateOperational:
			return fmt.Errorf("%s: its instance is %s, the server %s", m.server, instances[0].State, server.State)
		case enrolled[server.ID] != 1:
			return fmt.Errorf("%s has enrolled %d times", m.server, enrolled[server.ID])
		case !s.Legacy && attested[server.ID] != 1:
			return fmt.Errorf("%s was attested %d times", m.server, attested[server.ID])
		}
	}
	return nil
}
