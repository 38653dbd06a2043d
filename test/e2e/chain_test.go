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

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestChain launches a role of the demo as a person does by hand, with what the
// platform prints; the other one is in TestLifecycle. It is rebooted and ended
// by the cloud.
func TestChain(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(testContext(t), 20*time.Minute)
	defer cancel()
	role := chain.Roles()[1]
	require.NoError(t, s.LaunchServer(ctx, role))
	id := s.InstanceOf(role.Name)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, role.Name) })

	require.NoError(t, s.Platform.WaitState(ctx, role.Name, "operational"))
	require.Equal(t, id, serverOf(ctx, t, s, role.Name).Instance.ResourceUID)
	requireAudit(t, s, role, auditText(ctx, t, s, role.Name))
	rebooted(ctx, t, s, role.Name, id)

	require.NoError(t, s.Cloud.Terminate(ctx, id))
	waitDecommissioned(ctx, t, s, role.Name)
	requireDecommissioned(t, s, role, auditText(ctx, t, s, role.Name))
}

// rebooted reboots the instance of a server, which stays the same one and runs
// its boot scripts again.
func rebooted(ctx context.Context, t *testing.T, s *chain.Story, server, id string) {
	t.Helper()
	first, audit := serverOf(ctx, t, s, server), auditText(ctx, t, s, server)
	reboot(ctx, t, s, server, id)
	second := serverOf(ctx, t, s, server)
	require.Equal(t, first.Instance.Href, second.Instance.Href, "a reboot must not make a second identity")
	require.Equal(t, 1, instancesOf(ctx, t, s, id), "one instance record before and after the reboot")
	require.Greater(t, len(auditText(ctx, t, s, server)), len(audit), "boot scripts run again after a reboot")
}

// operate has the database back itself up; the platform pushes the script and
// waits for its end.
func operate(ctx context.Context, t *testing.T, s *chain.Story, server string) {
	t.Helper()
	out, err := s.Platform.Admin(ctx, "server", "run-script", server, "Back up", "--thread", "backup", "--wait", "3m")
	require.NoError(t, err, out)
	requireText(t, s, server, out, "Completed: Back up")
	require.Equal(t, "operational", serverOf(ctx, t, s, server).State)
}

// reboot reboots the instance and waits until it has been through booting and
// is operational again.
func reboot(ctx context.Context, t *testing.T, s *chain.Story, server, id string) {
	t.Helper()
	before := strings.Count(auditText(ctx, t, s, server), "operational")
	switch server {
	case "web-1": // its agent is asked
		_, err := s.Platform.Admin(ctx, "server", "shutdown", server, "--kind", "reboot")
		require.NoError(t, err)
	case "db-1": // the cloud is asked, by the platform
		_, err := s.Platform.Admin(ctx, "server", "reboot", server)
		require.NoError(t, err)
	default:
		_, err := s.Cloud.EC2.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: []string{id}})
		require.NoError(t, err)
	}
	require.NoError(t, chain.Until(ctx, 2*time.Second, server+" is operational again", func(ctx context.Context) (bool, error) {
		sv, err := s.Platform.Server(ctx, server)
		if err != nil {
			return false, err
		}
		return sv.State == "operational" && strings.Count(auditText(ctx, t, s, server), "operational") > before, nil
	}))
}

func requireAudit(t *testing.T, s *chain.Story, role chain.Role, audit string) {
	t.Helper()
	switch role.Name {
	case "db-1":
		requireText(t, s, role.Name, audit, "RightScript: Install Redis", "Completed: Load data", "the database holds 2 keys")
	case "web-1":
		requireText(t, s, role.Name, audit, "Completed: Deploy application", "title: Made of a RightImage")
	}
	for name, secret := range role.Secrets {
		require.False(t, strings.Contains(audit, secret), "the value of credential %s is in an audit entry", name)
	}
}

func requireDecommissioned(t *testing.T, s *chain.Story, role chain.Role, audit string) {
	t.Helper()
	switch role.Name {
	case "db-1":
		requireText(t, s, role.Name, audit, "Completed: Save on decommission", "dump.rdb")
	case "web-1":
		requireText(t, s, role.Name, audit, "the web application is stopped")
	}
}

// requireText looks for texts in a server's audit trail, which it keeps in the
// log folder rather than in the test's output.
func requireText(t *testing.T, s *chain.Story, server, audit string, want ...string) {
	t.Helper()
	file := filepath.Join(s.Logs, server+"-audit.log")
	require.NoError(t, os.WriteFile(file, []byte(audit), 0o644))
	for _, text := range want {
		require.True(t, strings.Contains(audit, text), "the audit trail of %s lacks %q; see %s", server, text, file)
	}
}

// TestDormant launches the image as anyone would: no user-data at all. It must
// boot to a login, and ask the metadata service only.
func TestDormant(t *testing.T) {
	s := machineRoom(t)
	t.Parallel()
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Minute)
	defer cancel()
	id, err := s.Cloud.Launch(ctx, "dormant", s.Image, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, "dormant") })
	waitLogin(ctx, t, s, id)
	waitRequest(ctx, t, s, id, "GET /latest/user-data 404")
	waitRequest(ctx, t, s, id, "GET /latest/meta-data/public-keys/0/openssh-key 404")

	// Nothing may follow: no package, no platform, no retry.
	settled := requests(t, s, id)
	time.Sleep(20 * time.Second)
	require.Equal(t, settled, requests(t, s, id), "a dormant machine makes no further requests")
	require.NoFileExists(t, filepath.Join(s.Cloud.State, "instances", id, "platform.log"))
	for _, server := range []string{"db-1", "web-1"} {
		if sv, err := s.Platform.Server(ctx, server); err == nil && sv.Instance != nil {
			require.NotEqual(t, id, sv.Instance.ResourceUID)
		}
	}
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

func waitLogin(ctx context.Context, t *testing.T, s *chain.Story, id string) {
	t.Helper()
	require.NoError(t, chain.Until(ctx, time.Second, "instance "+id+" shows a login prompt", func(ctx context.Context) (bool, error) {
		text, err := s.Cloud.Console(ctx, id)
		return strings.Contains(text, "login:"), err
	}))
}

func waitRequest(ctx context.Context, t *testing.T, s *chain.Story, id, want string) {
	t.Helper()
	require.NoError(t, chain.Until(ctx, time.Second, "instance "+id+" asks "+want, func(context.Context) (bool, error) {
		return strings.Contains(requests(t, s, id), want), nil
	}))
}

// requests is the instance's metadata request log.
func requests(t *testing.T, s *chain.Story, id string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Cloud.State, "instances", id, "imds.log"))
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(data)
}
