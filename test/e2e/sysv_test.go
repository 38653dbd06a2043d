// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestSysV is the chain on a machine that boots with sysvinit: hooks are init
// scripts, and our own monitor keeps the agent alive.
func TestSysV(t *testing.T) {
	needFull(t)
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 35*time.Minute)
	defer cancel()
	role := chain.Role{Name: "sysv-1", UserData: "query"}
	image := sysvImage(ctx, t, s)
	createSysV(ctx, t, s, role.Name)

	userData, err := s.Platform.Admin(ctx, "server", "user-data", role.Name, "--form", role.UserData)
	require.NoError(t, err)
	id, err := s.Cloud.Launch(ctx, role.Name, image, userData)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, role.Name) })
	require.NoError(t, s.Platform.WaitState(ctx, role.Name, "operational"))
	requireText(t, s, role.Name, auditText(ctx, t, s, role.Name),
		"process 1: init", "SysV init version", "systemd does not run", "greeting: hello sysv", "boot scripts ran: 1\n", "Completed: Say hello")
	s.Say("sysv-1 is operational")

	// The boot script has the agent killed: the monitor starts another one,
	// which declares itself and runs nothing.
	waitAudit(ctx, t, s, role.Name, id+" declared itself again")
	s.Say("sysv-1's agent was killed, its monitor has started another one")
	audit := auditText(ctx, t, s, role.Name)
	require.Equal(t, 1, strings.Count(audit, "boot scripts ran: "), "a killed agent runs no boot scripts again")
	require.Equal(t, "operational", serverOf(ctx, t, s, role.Name).State)
	first := serverOf(ctx, t, s, role.Name)

	reboot(ctx, t, s, role.Name, id)
	s.Say("sysv-1 is operational after a reboot")
	require.Equal(t, first.Instance.Href, serverOf(ctx, t, s, role.Name).Instance.Href, "a reboot must not make a second identity")
	require.Equal(t, 1, instancesOf(ctx, t, s, id), "one instance record before and after the reboot")
	audit = auditText(ctx, t, s, role.Name)
	requireText(t, s, role.Name, audit, "signal: killed", "restart of the agent", "goodbye in runlevel 0", "boot scripts ran: 2\n")
	require.Equal(t, 1, strings.Count(audit, "goodbye in"))

	require.NoError(t, s.Cloud.Terminate(ctx, id))
	require.NoError(t, s.Platform.WaitState(ctx, role.Name, "decommissioned"))
	audit = auditText(ctx, t, s, role.Name)
	requireText(t, s, role.Name, audit, "Completed: Say goodbye")
	require.Equal(t, 2, strings.Count(audit, "goodbye in"), "one for each end")
}

// TestSysVRoundTrip is TestRoundTrip where hooks are init scripts.
func TestSysVRoundTrip(t *testing.T) {
	needFull(t)
	s := machineRoom(t)
	base, err := s.BaseDisk(testContext(t), chain.SysVInit)
	require.NoError(t, err)
	roundTrip(t, s, base)
}

// sysvImage builds the example's image of a base disk with sysvinit.
func sysvImage(ctx context.Context, t *testing.T, s *chain.Story) string {
	t.Helper()
	base, err := s.BaseDisk(ctx, chain.SysVInit)
	require.NoError(t, err)
	catalogue, err := s.Build(ctx, filepath.Join(s.Repo, "example", "rightimage.pkr.hcl"), filepath.Join(s.Work, "sysv"), s.Cloud.Env(),
		map[string]string{"base_disk": base, "platform_ca_file": s.Platform.CA, "regions": `["` + chain.Region + `"]`})
	require.NoError(t, err)
	image := catalogue.Images[chain.Region].ImageID
	require.NotEmpty(t, image)
	s.Say("AMI with sysvinit: %s", image)
	return image
}

func createSysV(ctx context.Context, t *testing.T, s *chain.Story, server string) {
	t.Helper()
	file := filepath.Join(s.Repo, "test", "e2e", "testdata", "sysv", "sysv.yml")
	_, err := s.Platform.Admin(ctx, "server-template", "upload", file)
	require.NoError(t, err)
	_, err = s.Platform.Admin(ctx, "server", "create", server, "--server-template", "SysV test", "--input", "GREETING=text:hello sysv")
	require.NoError(t, err)
}

func waitAudit(ctx context.Context, t *testing.T, s *chain.Story, server, text string) {
	t.Helper()
	require.NoError(t, chain.Until(ctx, 2*time.Second, "the audit trail of "+server+" says "+text, func(ctx context.Context) (bool, error) {
		audit, err := s.Platform.AuditText(ctx, server)
		return strings.Contains(audit, text), err
	}))
}
