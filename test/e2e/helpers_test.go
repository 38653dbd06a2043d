// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

func serverOf(ctx context.Context, t *testing.T, s *chain.Story, name string) chain.Server {
	t.Helper()
	sv, err := s.Platform.Server(ctx, name)
	require.NoError(t, err)
	require.NotNil(t, sv.Instance, "server %s has no instance", name)
	return sv
}

// instancesOf counts the platform's records of a cloud instance.
func instancesOf(ctx context.Context, t *testing.T, s *chain.Story, id string) int {
	t.Helper()
	out, err := s.Platform.Admin(ctx, "instance", "list", "--json")
	require.NoError(t, err)
	var list []struct {
		ResourceUID string `json:"resource_uid"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &list))
	n := 0
	for _, i := range list {
		if i.ResourceUID == id {
			n++
		}
	}
	return n
}

// auditText is every audit entry of a server, summary and detail.
func auditText(ctx context.Context, t *testing.T, s *chain.Story, server string) string {
	t.Helper()
	text, err := s.Platform.AuditText(ctx, server)
	require.NoError(t, err)
	return text
}

// waitDecommissioned waits until the agent of a server has decommissioned its
// machine. Where a test has told the platform of the cloud, discovery may have
// seen the machine's end already, and the server is inactive again.
func waitDecommissioned(ctx context.Context, t *testing.T, s *chain.Story, server string) {
	t.Helper()
	require.NoError(t, s.Platform.WaitState(ctx, server, "decommissioned", "inactive"))
	require.Contains(t, auditText(ctx, t, s, server), "→ decommissioned", "the agent of %s told its end", server)
}
