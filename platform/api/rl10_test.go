// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	rightlink "github.com/rightimage/packer-plugin-rightimage/rightlink/agent"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// machineOf is a directory with a real agent of a server, which has enrolled
// with the platform and has run its boot scripts. Its local API is open.
type machineOf struct {
	root paths.Root
	self string
}

// still are commands of a machine that stays as it is.
type still struct{}

func (still) Run(context.Context, string, ...string) (string, error) { return "", nil }

type noPackages struct{}

func (noPackages) Install(context.Context, []string) error { return nil }

func (w *world) machine(server string, id identity) machineOf {
	t := w.t
	t.Helper()
	root := paths.Root(t.TempDir())
	ca, err := os.ReadFile(w.ca)
	require.NoError(t, err)
	for name, text := range map[string]string{
		root.Identity(): fmt.Sprintf("client_id='%s'\nclient_secret='%s'\naccount='1'\napi_hostname='%s'\n", id.id, id.token, strings.TrimPrefix(w.base, "https://")),
		root.CA():       string(ca),
		root.Cloud():    "ec2",
		root.Join("var/spool/cloud/meta-data.json"): `{"instance-id":"i-0123456789abcdef0","ami-id":"ami-1","local-ipv4":"10.0.0.5"}`,
		root.Join("var/spool/cloud/user-data.json"): `{}`,
		root.OSRelease(): "ID=debian\n",
		root.Join("proc/sys/kernel/random/boot_id"): "boot-1\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	ctx, off := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- rightlink.Run(ctx, rightlink.Options{Root: root, Version: "10.6.4", Log: slog.New(slog.NewTextHandler(w.logs, nil)), Commands: still{}, Packages: noPackages{}})
	}()
	t.Cleanup(func() { off(); require.NoError(t, <-ended) })
	require.Eventually(t, func() bool { return w.view(server).State == wire.StateOperational }, 30*time.Second, 20*time.Millisecond, "%s", w.logs)
	return machineOf{root: root, self: w.view(server).Instance.Href}
}

// local reads where the local API is, and its secret.
func (m machineOf) local(t *testing.T) (base, secret string) {
	t.Helper()
	raw, err := os.ReadFile(m.root.Secret())
	require.NoError(t, err)
	values := map[string]string{}
	for _, line := range strings.Fields(string(raw)) {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	return "http://localhost:" + values["RS_RLL_PORT"], values["RS_RLL_SECRET"]
}

// startRL10 is a platform, and an agent to whose local API rsc speaks.
func startRL10(t *testing.T) (*tools, machineOf) {
	t.Helper()
	w := &tools{world: start(t), vars: map[string]string{}}
	m := w.machine("web-1", w.server("web-1", "PASSWORD=text:x"))
	base, secret := m.local(t)
	w.vars["local"], w.vars["secret"], w.vars["instance"], w.vars["server"] = base, secret, m.self, fleet.ServerHref(w.view("web-1").ID)
	return w, m
}

// ranTwice waits for the ends of the scripts that the checks have asked for.
func (w *tools) ranTwice() {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		entries, err := w.fleet.AuditEntries(w.t.Context(), fleet.DefaultAccount, "web-1", 0, 0)
		require.NoError(w.t, err)
		done := 0
		for _, e := range entries {
			if e.Summary == "Completed: Test start" {
				v, err := w.fleet.AuditEntry(w.t.Context(), fleet.DefaultAccount, e.ID)
				require.NoError(w.t, err)
				if strings.Contains(*v.Detail, "8080 from rsc") {
					done++
				}
			}
		}
		return done == 2
	}, 30*time.Second, 50*time.Millisecond, "both scripts run on the instance; %s", w.logs)
}

// The calls of "rsc --rl10" to a real agent's local API, as the requests that it
// sends: what the agent answers itself, and what it passes on to the platform.
func TestRL10(t *testing.T) {
	w, _ := startRL10(t)
	var checks []check
	readData(t, "rl10.json", &checks)
	require.GreaterOrEqual(t, len(checks), 20)
	for _, c := range checks {
		require.NotEmpty(t, c.Requests, c.Name)
		for _, e := range c.Requests {
			w.send(e)
		}
		t.Log("ok", c.Name)
	}
	w.ranTwice()
	require.Equal(t, "operational", w.view("web-1").State)
}

// The same with the real program, where there is one: RIGHTIMAGE_RSC=/path/rsc.
// It reads /var/run/rightlink/secret, which a mount namespace lends it.
func TestRealRL10(t *testing.T) {
	program := os.Getenv("RIGHTIMAGE_RSC")
	if program == "" || os.Getuid() != 0 {
		t.Skip("needs root, and RIGHTIMAGE_RSC to name the program rsc")
	}
	w, m := startRL10(t)
	var checks []check
	readData(t, "rl10.json", &checks)
	t.Cleanup(func() { _ = os.Remove("/run/rightlink") }) // if it is ours, it is empty
	const lent = `mkdir -p /run/rightlink && mount --bind "$1" /run/rightlink && shift && exec "$@"`
	for _, c := range checks {
		args := []string{"-m", "sh", "-c", lent, "sh", m.root.RunDir(), program, "-c", "/nonexistent", "--rl10"}
		for _, a := range c.Args {
			args = append(args, w.fill(a))
		}
		cmd := exec.CommandContext(t.Context(), "unshare", args...)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		err := cmd.Run()
		var exit *exec.ExitError
		require.True(t, err == nil || errors.As(err, &exit), "%v", err)
		require.Equal(t, c.Exit, cmd.ProcessState.ExitCode(), "%s: %s%s", c.Name, out.String(), errOut.String())
		if c.Prints != "" {
			require.Equal(t, c.Prints, out.String(), c.Name)
		}
		if c.Keep != "" {
			w.vars[c.Keep] = out.String()
		}
	}
	w.ranTwice()
}
