// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// UnwrapServer takes a server away from around its machine: the machine goes on
// as a raw instance with the same href, and the server is gone. Its agent is
// shut out. It is the way back from wrapping an instance.
func (s *Service) UnwrapServer(ctx context.Context, by By, serverID int64) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := serverOf(ctx, q, by.Account, serverID)
		if err != nil {
			return err
		}
		_, inst, err := s.current(ctx, q, server)
		switch {
		case err != nil:
			return err
		case server.Locked:
			return refused("server %q is locked; unlock it first", server.Name)
		case !Living(inst) || inst.ResourceUID == "":
			return invalid("server %q has no machine (it is %s); delete it instead", server.Name, server.State)
		}
		if active, err := q.ActiveJob(ctx, inst.ID); err == nil {
			return refused("%s: a %s is under way", NameOf(inst), active.Kind)
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := s.noteBy(ctx, q, by.Who, server, inst.ID, "server "+server.Name+" unwrapped; "+NameOf(inst)+" goes on as a raw instance", ""); err != nil {
			return err
		}
		if state := stateWithout(inst.CloudState); state != inst.State {
			if err := s.moveState(ctx, q, inst, state, "unwrapped"); err != nil {
				return err
			}
		}
		if err := q.ReleaseInstance(ctx, inst.ID, server.Name, s.Now()); err != nil {
			return err
		}
		return q.DeleteServer(ctx, server.ID)
	})
}

// stateWithout is the state of an instance without an agent: the cloud's own, in
// the words of RightScale.
func stateWithout(cloudState string) string {
	switch cloudState {
	case "", "running":
		return wire.StateOperational
	case "pending":
		return wire.StatePending
	}
	return cloudState
}
