// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestInitSystems is the chain on machines without systemd: hooks are scripts,
// and our own monitor keeps the agent alive. The long run goes on: the agent is
// killed, the machine rebooted and ended.
func TestInitSystems(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	for name, starter := range map[string]string{chain.SysVInit: "services are started by rc\n", chain.OpenRC: "services are started by openrc\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(testContext(t), 35*time.Minute)
			defer cancel()
			server := name + "-1"
			image := imageWith(ctx, t, s, name)
			createServer(ctx, t, s, server)
			require.NoError(t, s.LaunchServer(ctx, chain.Role{Name: server, UserData: "query", Image: image}))
			id := s.InstanceOf(server)
			t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, server) })
			require.NoError(t, s.Platform.WaitState(ctx, server, "operational"))
			requireText(t, s, server, auditText(ctx, t, s, server),
				"process 1: init", "SysV init version", "systemd does not run", starter, "greeting: hello there", "boot scripts ran: 1\n", "Completed: Say hello")
			if os.Getenv("RIGHTIMAGE_E2E") == "full" {
				killRebootEnd(ctx, t, s, server, id)
				return
			}
			require.NoError(t, s.Cloud.Terminate(ctx, id))
		})
	}
}

// killRebootEnd is the rest of a machine's life. The boot script has the agent
// killed: the monitor starts another one, which declares itself and runs nothing.
func killRebootEnd(ctx context.Context, t *testing.T, s *chain.Story, server, id string) {
	t.Helper()
	waitAudit(ctx, t, s, server, id+" declared itself again")
	s.Say("%s's agent was killed, its monitor has started another one", server)
	audit := auditText(ctx, t, s, server)
	require.Equal(t, 1, strings.Count(audit, "boot scripts ran: "), "a killed agent runs no boot scripts again")
	require.Equal(t, "operational", serverOf(ctx, t, s, server).State)
	first := serverOf(ctx, t, s, server)

	reboot(ctx, t, s, server, id)
	s.Say("%s is operational after a reboot", server)
	require.Equal(t, first.Instance.Href, serverOf(ctx, t, s, server).Instance.Href, "a reboot must not make a second identity")
	require.Equal(t, 1, instancesOf(ctx, t, s, id), "one instance record before and after the reboot")
	audit = auditText(ctx, t, s, server)
	requireText(t, s, server, audit, "signal: killed", "restart of the agent", "goodbye in runlevel 0", "boot scripts ran: 2\n")
	require.Equal(t, 1, strings.Count(audit, "goodbye in"))

	require.NoError(t, s.Cloud.Terminate(ctx, id))
	waitDecommissioned(ctx, t, s, server)
	audit = auditText(ctx, t, s, server)
	requireText(t, s, server, audit, "Completed: Say goodbye")
	require.Equal(t, 2, strings.Count(audit, "goodbye in"), "one for each end")
}

// TestInitSystemsRoundTrip is TestRoundTrip where hooks are scripts.
func TestInitSystemsRoundTrip(t *testing.T) {
	needFull(t)
	for _, name := range []string{chain.SysVInit, chain.OpenRC} {
		t.Run(name, func(t *testing.T) {
			s := machineRoom(t)
			base, err := s.BaseDisk(testContext(t), name)
			require.NoError(t, err)
			roundTrip(t, s, base)
		})
	}
}

// imageWith builds the example's image of a base disk with an init system.
func imageWith(ctx context.Context, t *testing.T, s *chain.Story, name string) string {
	t.Helper()
	base, err := s.BaseDisk(ctx, name)
	require.NoError(t, err)
	catalogue, err := s.Build(ctx, s.DemoTemplate(), filepath.Join(s.Work, name), s.Cloud.Env(),
		map[string]string{"base_disk": base, "platform_ca_file": s.Platform.CA, "regions": `["` + chain.Region + `"]`})
	require.NoError(t, err)
	image := catalogue.Images[chain.Region].ImageID
	require.NotEmpty(t, image)
	s.Say("AMI with %s: %s", name, image)
	return image
}

func createServer(ctx context.Context, t *testing.T, s *chain.Story, server string) {
	t.Helper()
	file := filepath.Join(s.Repo, "test", "e2e", "testdata", "init", "init.yml")
	_, err := s.Platform.Admin(ctx, "server-template", "upload", file)
	require.NoError(t, err)
	_, err = s.Platform.Admin(ctx, "server", "create", server, "--server-template", "Init test", "--input", "GREETING=text:hello there")
	require.NoError(t, err)
}

func waitAudit(ctx context.Context, t *testing.T, s *chain.Story, server, text string) {
	t.Helper()
	require.NoError(t, chain.Until(ctx, 2*time.Second, "the audit trail of "+server+" says "+text, func(ctx context.Context) (bool, error) {
		audit, err := s.Platform.AuditText(ctx, server)
		return strings.Contains(audit, text), err
	}))
}
