// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
)

// console types commands at the platform of a world.
type console struct {
	*cloudtest.World
	in string
}

func (c console) try(args ...string) (out, errs string, code int) {
	c.T.Helper()
	var o, e bytes.Buffer
	code = run(append([]string{"--data", c.Dir}, args...), strings.NewReader(c.in), &o, &e)
	return o.String(), e.String(), code
}

func (c console) ok(args ...string) string {
	c.T.Helper()
	out, errs, code := c.try(args...)
	require.Zero(c.T, code, "%v: %s", args, errs)
	return out
}

func (c console) fails(want string, args ...string) {
	c.T.Helper()
	_, errs, code := c.try(args...)
	require.Equal(c.T, 1, code, args)
	require.Contains(c.T, errs, want)
}

// The life of a server at the command line, without a serve beside it.
func TestLifeAtTheCommandLine(t *testing.T) {
	c := console{World: cloudtest.New(t), in: "secret"}
	endpoint := c.Local.Info().Endpoint
	c.ok("cloud", "add", "second", "--region", "us-east-1", "--endpoint-url", endpoint, "--access-key", "AKIA", "--discover", "0")
	c.fails("exists already", "cloud", "add", "second", "--region", "us-east-1", "--endpoint-url", endpoint, "--access-key", "AKIA")
	c.fails("xx-nowhere-1", "cloud", "add", "third", "--region", "xx-nowhere-1", "--endpoint-url", endpoint, "--access-key", "AKIA")
	c.fails("is not set", "--data", "", "cloud", "list")
	out := c.ok("cloud", "add", "all", "--all-regions", "--endpoint-url", endpoint, "--access-key", "AKIA", "--discover", "0")
	require.Contains(t, out, `added cloud "all eu-west-1"`)
	require.Empty(t, c.ok("cloud", "add", "all", "--all-regions", "--endpoint-url", endpoint, "--access-key", "AKIA", "--discover", "0"), "again: nothing new")
	shown := c.ok("cloud", "show", "second", "--json")
	require.NotContains(t, shown, "secret\"")
	require.Contains(t, shown, `"cloud_account": "000000000000"`)
	c.fails("is required", "cloud", "set", "second")
	c.fails("goes with --access-key", "cloud", "set", "second", "--session-token", "--discover", "5m")
	c.fails("exists already", "cloud", "set", "second", "--name", "local")
	c.fails("xx-nowhere-1", "cloud", "set", "second", "--region", "xx-nowhere-1")
	c.fails("goes with a role", "cloud", "set", "second", "--external-id", "x")
	require.Equal(t, shown, c.ok("cloud", "show", "second", "--json"), "what is refused changes nothing")
	require.Contains(t, c.ok("cloud", "set", "second", "--name", "third", "--discover", "5m"), `changed cloud "third"`)
	require.Contains(t, c.ok("cloud", "set", "third", "--ambient", "--no-check", "--json"), `"credentials": "ambient"`)
	require.Contains(t, c.ok("cloud", "set", "third", "--access-key", "AKIA", "--name", "second", "--discover", "0", "--json"), `"access_key": "AKIA"`)
	require.Equal(t, shown, c.ok("cloud", "show", "second", "--json"), "all is as it was")
	require.Contains(t, c.ok("audit", "list"), "cloud changed: second (new credentials)")
	require.Contains(t, c.ok("cloud", "discover", "local"), "local")
	require.Contains(t, c.ok("cloud", "list"), "never")
	require.Contains(t, c.ok("cloud", "show", "local"), c.Image)

	c.ok("server", "create", "web", "--server-template", "Test web")
	c.fails("no cloud credentials", "server", "launch", "web")
	c.fails(`cloud "nowhere"`, "server", "set", "web", "--cloud", "nowhere")
	c.ok("server", "set", "web", "--cloud", "local", "--image", c.Image, "--instance-type", "t3.micro")
	c.fails("is in use: 1 servers", "cloud", "remove", "local")
	c.fails("has no machine", "server", "terminate", "web")
	var o outcome
	require.NoError(t, json.Unmarshal([]byte(c.ok("server", "launch", "web", "--input", "PORT=text:81", "--wait", "1m", "--json")), &o))
	require.True(t, o.Done)
	require.Equal(t, "running", o.Instance.CloudState)
	require.Contains(t, c.ok("server", "show", "web"), o.Instance.ResourceUID)
	require.Contains(t, c.ok("instance", "list"), o.Instance.ResourceUID)
	require.NotContains(t, c.ok("instance", "list", "--raw"), o.Instance.ResourceUID)
	c.fails("terminate it first", "server", "launch", "web")
	c.ok("server", "reboot", "web")
	c.ok("server", "stop", "web", "--wait", "1m")
	require.Equal(t, "stopped", c.Cloudly()[o.Instance.ResourceUID])
	c.ok("server", "start", "web", "--wait", "1m")
	before := o.Instance.ResourceUID
	require.NoError(t, json.Unmarshal([]byte(c.ok("server", "relaunch", "web", "--wait", "2m", "--json")), &o))
	require.NotEqual(t, before, o.Instance.ResourceUID)
	require.Equal(t, 1, c.Alive())
	c.ok("server", "terminate", "web", "--wait", "1m")
	require.Zero(t, c.Alive())

	c.Fault(fault.Rule{Action: "RunInstances", Kind: fault.Deny})
	c.fails("UnauthorizedOperation", "server", "launch", "web")
	c.ok("cloud", "remove", "second")
	c.fails("it stays", "cloud", "remove", "default")
}

// A server that is launched by hand still gets a token with relaunch.
func TestRelaunchByHand(t *testing.T) {
	c := console{World: cloudtest.New(t)}
	c.ok("server", "create", "web", "--server-template", "Test web")
	require.Contains(t, c.ok("server", "relaunch", "web"), "new token for")
	require.Contains(t, c.ok("server", "user-data", "web"), "RS_rn_auth=")
}
