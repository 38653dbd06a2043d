// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/rltest"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/tools"
)

// linked makes the links of the package beside the binary.
func linked(t *testing.T, binary string) string {
	for _, name := range tools.Names() {
		require.NoError(t, os.Symlink(filepath.Base(binary), filepath.Join(filepath.Dir(binary), name)))
	}
	return filepath.Dir(binary)
}

// The rs_* commands, as a person on the instance types them.
func TestTools(t *testing.T) {
	binary := compile(t, "")
	bin := linked(t, binary)
	p := rltest.New(t)
	root := p.Root(t)
	p.Operational = map[string]wire.RightScript{"hello": {Nickname: "hello", Source: "#!/bin/sh\necho who=$WHO\n", ID: 7, Ready: true}}
	p.Decommission = wire.ExecutableBundle{AuditID: 9002, Executables: []wire.RightScript{{Nickname: "bye", Source: "#!/bin/sh\necho bye\n", ID: 2, Ready: true}}}
	rs := func(code int, want, name string, args ...string) string {
		t.Helper()
		text, got := rightlink(t, filepath.Join(bin, name), append([]string{"--root", string(root)}, args...)...)
		require.Equal(t, code, got, "%s %v: %s", name, args, text)
		require.Contains(t, text, want, "%s %v", name, args)
		return text
	}
	rs(1, "has not been enrolled", "rs_state", "--type", "run")
	rs(0, "stopped\n", "rs_state", "-t", "agent")
	rs(1, "the agent does not run", "rs_tag", "--list")
	for _, name := range tools.Names() {
		rs(0, "usage: "+name, name, "--help")
		if name != "rs_reenroll" && name != "rs_log_level" {
			code := 1
			if name == "rs_connect" {
				code = 255
			}
			rs(code, "see "+name+" --help", name)
		}
		rs(map[bool]int{true: 255, false: 1}[name == "rs_connect"], "see "+name+" --help", name, "--nonsense")
	}

	agent := start(t, binary, root, "7 poweroff.target start waiting")
	require.Eventually(t, func() bool { return p.State() == "operational" }, 30*time.Second, 10*time.Millisecond, "the agent is not operational")
	require.Eventually(t, func() bool { return status1(t, binary, root).State == "operational" }, 10*time.Second, 50*time.Millisecond)
	require.Equal(t, "operational\n", rs(0, "", "rs_state", "--type=run"))
	rs(0, "connected\n", "rs_state", "-t", "agent")
	rs(1, "wants run or agent", "rs_state", "-t", "x")

	rs(0, "", "rs_tag", "--add", "app:role=web", "-a", "plain")
	require.JSONEq(t, `["app:role=web","plain"]`, rs(0, "", "rs_tag", "-l"))
	require.Equal(t, "app:role=web\nplain\n", rs(0, "", "rs_tag", "-l", "-f", "text"))
	require.Equal(t, "- app:role=web\n- plain\n", rs(0, "", "rs_tag", "-l", "-f", "yaml"))
	rs(0, "", "rs_tag", "--remove", "plain")
	rs(1, "want one of", "rs_tag", "-l", "-q", "x")

	rs(0, "/api/audit_entries/8", "rs_run_right_script", "-n", "hello", "-p", "WHO=text:you", "--thread", "side")
	rs(1, "no operational script", "rs_run_right_script", "--name", "nope")
	rs(1, "want NAME=VALUE", "rs_run_right_script", "--name", "hello", "-p", "WHO")
	require.Eventually(t, func() bool { return strings.Contains(p.Entry("8000").Text, "who=you\n") }, 10*time.Second, 10*time.Millisecond)

	require.Equal(t, "debug\n", rs(0, "", "rs_log_level"))
	require.Equal(t, "warn\n", rs(0, "", "rs_log_level", "-l", "warn"))
	rs(1, "want debug, info, warn or error", "rs_log_level", "-l", "loud")

	rs(0, "", "rs_config", "--set", "decommission_timeout", "77")
	require.Equal(t, "77\n", rs(0, "", "rs_config", "--get", "decommission.timeout"))
	rs(1, "want seconds", "rs_config", "--set", "decommission_timeout", "never")
	rs(0, "managed_login.enable off\n", "rs_config", "--list")

	rs(1, "want one of --reboot", "rs_shutdown", "-r", "-s")
	rs(0, "", "rs_shutdown", "--terminate")
	ran := func() bool {
		text, _ := os.ReadFile(root.Join("ran"))
		return strings.Contains(string(text), "poweroff\n")
	}
	require.Eventually(t, ran, 10*time.Second, 10*time.Millisecond)
	agent.stop(t) // the machine does this
	records := p.Records()
	require.Equal(t, "terminate", records[len(records)-1].Kind)
	require.Contains(t, p.Entry("9002").Text, "bye")
	rs(0, "shutting-down:terminate\n", "rs_state", "-t", "run")
}

func TestReenrolAndWithoutScripts(t *testing.T) {
	binary := compile(t, "")
	bin := linked(t, binary)
	p := rltest.New(t)
	root := p.Root(t)
	p.Decommission = wire.ExecutableBundle{AuditID: 9002, Executables: []wire.RightScript{{Nickname: "bye", Source: "#!/bin/sh\necho bye\n", ID: 2, Ready: true}}}
	ready := func() bool {
		return p.State() == "operational" && status1(t, binary, root).Running && fileExists(root.Secret())
	}
	agent := start(t, binary, root, "")
	require.Eventually(t, ready, 30*time.Second, 20*time.Millisecond)
	text, code := rightlink(t, filepath.Join(bin, "rs_reenroll"), "--root", string(root), "--resume")
	require.Zero(t, code, text)
	require.Error(t, agent.cmd.Wait(), "so that the service manager starts it again")
	require.Contains(t, agent.text(), "asked to start again")

	agent = start(t, binary, root, "7 reboot.target start waiting")
	require.Eventually(t, ready, 30*time.Second, 20*time.Millisecond)
	text, code = rightlink(t, filepath.Join(bin, "rs_shutdown"), "--root", string(root), "--reboot", "--immediately")
	require.Zero(t, code, text)
	agent.stop(t)
	require.NotContains(t, p.Entry("9002").Text, "bye")
	records := p.Records()
	require.Equal(t, wire.StateRecord{State: "decommissioned", FromState: "operational", Kind: "reboot"}, records[len(records)-1])
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func TestConnect(t *testing.T) {
	binary := compile(t, "")
	bin := linked(t, binary)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/good" {
			fmt.Fprint(w, "RS_rn_id=1&RS_rn_auth=2&RS_server=h")
			return
		}
		fmt.Fprint(w, "hello")
	}))
	defer site.Close()
	root := paths.Root(t.TempDir())
	connect := func(code int, want string, args ...string) {
		t.Helper()
		text, got := rightlink(t, filepath.Join(bin, "rs_connect"), append([]string{"--root", string(root)}, args...)...)
		require.Equal(t, code, got, text)
		require.Contains(t, text, want)
	}
	connect(255, "want an https address", "--attach", "http://192.0.2.1/x")
	connect(255, "begins with https://", "--attach", "file:///etc/passwd")
	connect(255, "does not hold RS_rn_id", "--attach", site.URL+"/bad")
	// The init scripts of a machine without systemd.
	require.NoError(t, os.MkdirAll(root.Join("etc/init.d"), 0o755))
	for _, name := range []string{"rightscale", "rightlink"} {
		require.NoError(t, os.WriteFile(root.Join("etc/init.d", name), []byte("#!/bin/sh\necho "+name+" $1 >>"+root.Join("ran")+"\n"), 0o700))
	}
	connect(0, "", "--attach", site.URL+"/good")
	ran, err := os.ReadFile(root.Join("ran"))
	require.NoError(t, err)
	require.Equal(t, "rightscale start\nrightlink start\n", string(ran))
	text, err := os.ReadFile(root.Join("var/spool/rightscale/user-data.txt"))
	require.NoError(t, err)
	require.Equal(t, "RS_rn_id=1&RS_rn_auth=2&RS_server=h", string(text))
	cloud, err := os.ReadFile(root.Cloud())
	require.NoError(t, err)
	require.Equal(t, "none\n", string(cloud))

	require.NoError(t, os.MkdirAll(root.StateDir(), 0o700))
	require.NoError(t, os.WriteFile(root.State(), []byte("{}"), 0o600))
	connect(255, "use --force", "--attach", site.URL+"/good")
	connect(0, "", "--attach", site.URL+"/good", "--force", "--cloud", "ec2")
}

// TestRSC runs the public rsc client, if there is one, against a real agent: it
// reads /var/run/rightlink/secret, which a mount namespace lends it.
func TestRSC(t *testing.T) {
	rsc, err := exec.LookPath(orElse(os.Getenv("RIGHTIMAGE_RSC"), "rsc"))
	if err != nil || os.Getuid() != 0 {
		t.Skip("needs root and the rsc client, on PATH or named by RIGHTIMAGE_RSC")
	}
	binary := compile(t, "")
	p := rltest.New(t)
	root := p.Root(t)
	p.Operational = map[string]wire.RightScript{"hello": {Nickname: "hello", Source: "#!/bin/sh\necho who=$WHO\n", ID: 7, Ready: true}}
	agent := start(t, binary, root, "")
	require.Eventually(t, func() bool { return p.State() == "operational" }, 30*time.Second, 10*time.Millisecond, "the agent is not operational")
	script := `set -e
mkdir -p /run/rightlink
mount --bind "$1" /run/rightlink
r="$2 -c /nonexistent --rl10"
$r --x1 .resource_uid cm15 index_instance_session /api/sessions
echo
$r rl10 update /rll/env/GLOBAL payload=shared
$r rl10 show /rll/env/GLOBAL
$r rl10 show /rll/proc/version
$r rl10 run_right_script /rll/run/right_script right_script=hello 'arguments[WHO]=text:rsc'
$r cm15 multi_add /api/tags/multi_add resource_hrefs[]=/api/clouds/1/instances/ABC tags[]=from:rsc=1
$r cm15 by_resource /api/tags/by_resource resource_hrefs[]=/api/clouds/1/instances/ABC
`
	t.Cleanup(func() { _ = os.Remove("/run/rightlink") }) // if it is ours, it is empty
	out, err := exec.Command("unshare", "-m", "sh", "-c", script, "sh", root.RunDir(), rsc).CombinedOutput()
	require.NoError(t, err, string(out))
	for _, want := range []string{"i-0123\n", "shared\n", "/api/audit_entries/8000", `"from:rsc=1"`} {
		require.Contains(t, string(out), want)
	}
	require.Eventually(t, func() bool { return strings.Contains(p.Entry("8000").Text, "who=rsc\n") }, 10*time.Second, 10*time.Millisecond)
	agent.stop(t)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
