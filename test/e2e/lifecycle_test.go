// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// discoverEvery is the interval of discovery in the test.
const discoverEvery = 10 * time.Second

// TestLifecycle has the platform launch a server of the image on the local
// cloud, as a real machine, and end it again; nobody touches the cloud but it.
// Beside it, a machine that somebody else launches is found as a raw instance.
func TestLifecycle(t *testing.T) {
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Minute)
	defer cancel()
	const server = "life-1"
	addCloud(ctx, t, s)
	admin(ctx, t, s, "server", "create", server, "--server-template", "Example web application", "--input", "SITE_TITLE=text:Launched by the platform",
		"--cloud", "local", "--image", s.Image, "--instance-type", "t3.small")

	var launched struct {
		Done     bool `json:"done"`
		Instance struct {
			ResourceUID string `json:"resource_uid"`
			CloudState  string `json:"cloud_state"`
			Href        string `json:"href"`
		} `json:"instance"`
	}
	require.NoError(t, json.Unmarshal([]byte(admin(ctx, t, s, "server", "launch", server, "--wait", "3m", "--json")), &launched))
	id := launched.Instance.ResourceUID
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, server) })
	require.True(t, launched.Done)
	require.Equal(t, "running", launched.Instance.CloudState)
	state, err := s.Cloud.InstanceState(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "running", state)

	require.NoError(t, s.Platform.WaitState(ctx, server, "operational"))
	sv := serverOf(ctx, t, s, server)
	require.Equal(t, id, sv.Instance.ResourceUID)
	require.Equal(t, launched.Instance.Href, sv.Instance.Href, "the agent is the instance that was launched")
	requireText(t, s, server, auditText(ctx, t, s, server), id+" launched", id+" attested", "Completed: Deploy application", "title: Launched by the platform")

	foundAsRaw(ctx, t, s)

	// Its agent runs the decommission scripts, then the platform ends the machine.
	admin(ctx, t, s, "server", "terminate", server, "--wait", "10m")
	require.NoError(t, s.Platform.WaitState(ctx, server, "inactive"))
	state, err = s.Cloud.InstanceState(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "terminated", state)
	trail := auditText(ctx, t, s, server)
	requireText(t, s, server, trail, "termination of "+id+" requested", "the web application is stopped", "→ terminated")
	require.NotContains(t, trail, "did not ask for its work")
	require.Equal(t, 1, instancesOf(ctx, t, s, id))
}

// addCloud tells the platform of the local cloud.
func addCloud(ctx context.Context, t *testing.T, s *chain.Story) {
	t.Helper()
	cmd := exec.CommandContext(ctx, s.Bin("rightscaled"), "cloud", "add", "local", "--region", chain.Region,
		"--endpoint-url", s.Cloud.Endpoint, "--access-key", "local", "--discover", discoverEvery.String())
	cmd.Env = append(os.Environ(), "RIGHTSCALED_DATA="+s.Platform.Data)
	cmd.Stdin = strings.NewReader("local")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func admin(ctx context.Context, t *testing.T, s *chain.Story, args ...string) string {
	t.Helper()
	out, err := s.Platform.Admin(ctx, args...)
	require.NoError(t, err)
	return out
}

// foundAsRaw launches a machine through the EC2 API: within one interval it is
// a raw instance, and stays one until it is gone.
func foundAsRaw(ctx context.Context, t *testing.T, s *chain.Story) {
	t.Helper()
	id, err := s.Cloud.Launch(ctx, "by-hand", s.Image, "")
	require.NoError(t, err)
	begin := time.Now()
	find := func() string {
		var list []struct {
			ResourceUID string `json:"resource_uid"`
			State       string `json:"state"`
			Raw         bool   `json:"raw"`
			Name        string `json:"name"`
		}
		require.NoError(t, json.Unmarshal([]byte(admin(ctx, t, s, "instance", "list", "--raw", "--json")), &list))
		for _, i := range list {
			if i.ResourceUID == id {
				require.True(t, i.Raw)
				require.Equal(t, "by-hand", i.Name)
				return i.State
			}
		}
		return ""
	}
	require.NoError(t, chain.Until(ctx, 500*time.Millisecond, id+" is a raw instance", func(context.Context) (bool, error) { return find() != "", nil }))
	// The command itself takes a moment on a busy machine.
	require.Less(t, time.Since(begin), discoverEvery+5*time.Second, "within one interval")
	require.NoError(t, s.Cloud.Terminate(ctx, id))
	require.NoError(t, chain.Until(ctx, time.Second, id+" is known to be gone", func(context.Context) (bool, error) { return find() == "terminated", nil }))
}
