// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/web/chromium"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// discoverEvery is the interval of discovery in the test.
const discoverEvery = 10 * time.Second

// The person who uses the dashboard in the test.
const (
	operatorEmail    = "operator@example.net"
	operatorPassword = "one login for the life-cycle"
)

// TestLifecycle has the platform launch two servers of the one image on the
// local cloud, as real machines that become different ones by their
// ServerTemplates, and end them again; nobody touches the cloud but it. One of
// them is worked on from the dashboard in a browser. Beside them, a machine that
// somebody else launches is found as a raw instance.
func TestLifecycle(t *testing.T) {
	require.NotEmpty(t, chromium.Path(), "chromium is missing (Debian: chromium; make test-deps)")
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 40*time.Minute)
	defer cancel()
	db, web := chain.Roles()[0], chain.Role{Name: "life-1", Template: "Lifecycle test"}
	adminWith(ctx, t, s, "local", "cloud", "add", "local", "--region", chain.Region, "--endpoint-url", s.Cloud.Endpoint, "--access-key", "local", "--discover", discoverEvery.String())
	admin(ctx, t, s, "server-template", "upload", filepath.Join(s.Repo, "test", "e2e", "testdata", "lifecycle", "lifecycle.yml"))
	admin(ctx, t, s, "server", "create", web.Name, "--server-template", web.Template, "--input", "SITE_TITLE=text:Launched by the platform")
	ids := map[string]string{}
	for _, role := range []chain.Role{web, db} {
		ids[role.Name] = launchByPlatform(ctx, t, s, role.Name)
	}
	for _, role := range []chain.Role{web, db} {
		require.NoError(t, s.Platform.WaitState(ctx, role.Name, "operational"))
		require.Equal(t, ids[role.Name], serverOf(ctx, t, s, role.Name).Instance.ResourceUID)
	}

	// One image, two machines.
	dbTrail, webTrail := auditText(ctx, t, s, db.Name), auditText(ctx, t, s, web.Name)
	requireAudit(t, s, db, dbTrail)
	requireText(t, s, web.Name, webTrail, ids[web.Name]+" launched", ids[web.Name]+" attested", "Completed: Deploy application", "title: Launched by the platform")
	require.NotContains(t, dbTrail, "Deploy application")
	require.NotContains(t, webTrail, "Redis")

	foundAsRaw(ctx, t, s)
	operate(ctx, t, s, db.Name)
	rebooted(ctx, t, s, db.Name, ids[db.Name])
	requireText(t, s, db.Name, auditText(ctx, t, s, db.Name), "data was loaded on an earlier boot")
	throughDashboard(ctx, t, s, web.Name)
	requireEnded(ctx, t, s, web.Name, ids[web.Name])
	requireText(t, s, web.Name, auditText(ctx, t, s, web.Name), "the web application is stopped")

	// Its agent runs the decommission scripts, then the platform ends the machine.
	admin(ctx, t, s, "server", "terminate", db.Name, "--wait", "10m")
	requireEnded(ctx, t, s, db.Name, ids[db.Name])
	requireDecommissioned(t, s, db, auditText(ctx, t, s, db.Name))
}

// launchByPlatform has the platform launch a server's machine, and returns its
// id.
func launchByPlatform(ctx context.Context, t *testing.T, s *chain.Story, server string) string {
	t.Helper()
	admin(ctx, t, s, "server", "set", server, "--cloud", "local", "--image", s.Image, "--instance-type", "t3.small")
	var launched struct {
		Done     bool `json:"done"`
		Instance struct {
			ResourceUID string `json:"resource_uid"`
			CloudState  string `json:"cloud_state"`
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
	return id
}

// requireEnded checks that a machine and its server came to their end in order.
func requireEnded(ctx context.Context, t *testing.T, s *chain.Story, server, id string) {
	t.Helper()
	require.NoError(t, s.Platform.WaitState(ctx, server, "inactive"))
	// The agent says that it is done before the platform ends the machine.
	soon, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	require.NoError(t, chain.Until(soon, time.Second, id+" is terminated", func(ctx context.Context) (bool, error) {
		state, err := s.Cloud.InstanceState(ctx, id)
		return state == "terminated", err
	}))
	trail := auditText(ctx, t, s, server)
	requireText(t, s, server, trail, "termination of "+id+" requested", "→ terminated")
	require.NotContains(t, trail, "did not ask for its work")
	require.Equal(t, 1, instancesOf(ctx, t, s, id))
}

// throughDashboard runs a script on a server and terminates it, as a person does
// with a browser. The script waits in the middle until the test lets it go on,
// so that what is seen before has come while it ran.
func throughDashboard(ctx context.Context, t *testing.T, s *chain.Story, server string) {
	t.Helper()
	adminWith(ctx, t, s, operatorPassword, "user", "add", operatorEmail, "--role", "operator", "--password-stdin")
	b := chromium.Open(t, "https://"+s.Platform.Addr)
	b.Login(operatorEmail, operatorPassword)
	b.GoTo("/ui/servers")
	b.Press(server)
	b.Holds(`document.querySelector(".state .badge").innerText === "operational"`)
	b.Click(`//li[contains(., "Count slowly")]//a[contains(., "Run")]`)
	b.Press("Run")
	b.Sees("The script was queued.")
	b.Mark()
	log := `document.getElementById("log").textContent`
	for n, next := range []string{"number 1", "number 2", "number 3"} {
		b.Holds(log + `.includes("` + next + `")`)
		if n == 2 {
			break
		}
		require.NotContains(t, b.Text(), "Completed: Count slowly", "the output comes while the script runs")
		require.False(t, chromium.Ask[bool](b, fmt.Sprintf(`%s.includes("number %d")`, log, n+2)))
		admin(ctx, t, s, "server", "run-script", server, "Open the gate", "--thread", "gate", "--wait", "3m")
	}
	b.Sees("Completed: Count slowly")
	b.NotReloaded()

	b.Click(`#tail a`)
	b.Press("Terminate")
	b.Sees("Terminate the instance of " + server + "?")
	b.Press("Terminate")
	b.Sees("The instance was asked to terminate.")
	b.Mark()
	require.NoError(t, s.Platform.WaitState(ctx, server, "inactive"))
	b.Holds(`document.querySelector(".state .badge").innerText === "inactive"`)
	b.Sees("Completed: Drain web server")
	b.NotReloaded()
	b.Quiet()
	// Who did it is on the audit trail.
	requireText(t, s, server, admin(ctx, t, s, "audit", "list", "--server", server), operatorEmail)
}

func admin(ctx context.Context, t *testing.T, s *chain.Story, args ...string) string {
	t.Helper()
	out, err := s.Platform.Admin(ctx, args...)
	require.NoError(t, err)
	return out
}

// adminWith is admin with text on standard input, such as a password.
func adminWith(ctx context.Context, t *testing.T, s *chain.Story, input string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, s.Bin("rightscaled"), args...)
	cmd.Env = append(os.Environ(), "RIGHTSCALED_DATA="+s.Platform.Data)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

// runInstances launches a machine with Debian's AWS command line.
func runInstances(ctx context.Context, t *testing.T, s *chain.Story, name string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, "/usr/bin/aws", "--endpoint-url", s.Cloud.Endpoint, "ec2", "run-instances", "--image-id", s.Image, "--instance-type", "t3.small",
		"--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value="+name+"}]", "--query", "Instances[0].InstanceId", "--output", "text")
	cmd.Env = append(os.Environ(), s.Cloud.Env()...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	}
	require.NoError(t, err, "the AWS command line (Debian: awscli)")
	return strings.TrimSpace(string(out))
}

// foundAsRaw launches a machine as somebody else does: within one interval it is
// a raw instance, and stays one until it is gone.
func foundAsRaw(ctx context.Context, t *testing.T, s *chain.Story) {
	t.Helper()
	id := runInstances(ctx, t, s, "by-hand")
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
