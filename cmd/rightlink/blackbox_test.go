// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/rltest"
)

// limit is the size that the stripped binary may have.
const limit = 16 << 20

// compile builds the binary as it is shipped.
func compile(t *testing.T, arch string) string {
	out := filepath.Join(t.TempDir(), "rightlink")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+arch)
	}
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(limit))
	return out
}

func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles for two architectures")
	}
	compile(t, "amd64")
	compile(t, "arm64")
}

// process is a started agent.
type process struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs the agent as an init system would; jobs is what "systemctl
// list-jobs" prints; without jobs it tells of a restart of the service.
func start(t *testing.T, binary string, root paths.Root, jobs string) *process {
	tools := t.TempDir()
	if jobs == "" {
		jobs = "13 rightlink.service restart running"
	}
	require.NoError(t, os.WriteFile(filepath.Join(tools, "systemctl"), []byte("#!/bin/sh\ncat <<'X'\n"+jobs+"\nX\n"), 0o700))
	for _, name := range []string{"reboot", "poweroff", "useradd"} { // never those of this machine
		require.NoError(t, os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\necho "+name+" $* >>"+root.Join("ran")+"\n"), 0o700))
	}
	p := &process{cmd: exec.CommandContext(context.Background(), binary, "--root", string(root), "run")}
	p.cmd.Env = []string{"PATH=" + tools + ":" + os.Getenv("PATH"), "SECRET_OF_THE_HOST=x", "LOG_LEVEL=debug"}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *process) stop(t *testing.T) {
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err, p.text())
	case <-time.After(30 * time.Second):
		t.Fatal("the agent does not end: " + p.text())
	}
}

func rightlink(t *testing.T, binary string, args ...string) (string, int) {
	out, err := exec.Command(binary, args...).CombinedOutput()
	exit := &exec.ExitError{}
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	require.NoError(t, err)
	return string(out), 0
}

const theBootScript = `#!/bin/bash
# ---
# RightScript Name: web
# ...
set -eu
echo "who=$WHO pw=$PASSWORD empty=<${EMPTY-absent}> unset=<${UNSET-absent}>"
env | sort > "$OUT/env"
cp "$RS_ATTACH_DIR/site.tar" "$OUT/"
./site.tar # an attachment can be a program
pwd > "$OUT/cwd"
`

func TestTheRealBinary(t *testing.T) {
	binary := compile(t, "")
	p := rltest.New(t)
	root := p.Root(t)
	out := t.TempDir()
	attachment := "#!/bin/sh\necho attached\n"
	sum := sha256.Sum256([]byte(attachment))
	digest := hex.EncodeToString(sum[:])
	p.With(func() {
		p.Attachments[digest] = attachment
		p.Boot = wire.ExecutableBundle{AuditID: 9001, Executables: []wire.RightScript{{
			Nickname: "web", Source: theBootScript, ID: 1, Ready: true,
			Parameters:  map[string]string{"WHO": `"you" $(id)`, "PASSWORD": "hunter2hunter2", "EMPTY": "", "OUT": out},
			Secrets:     []string{"PASSWORD"},
			Attachments: []wire.Attachment{{URL: wire.PathAttachments + digest, FileName: "site.tar", Token: "att-token", Digest: digest}},
		}}}
		p.Decommission = wire.ExecutableBundle{AuditID: 9002, Executables: []wire.RightScript{
			{Nickname: "bye", Source: "#!/bin/sh\necho leaving because of $DECOM_REASON, ${RS_ALREADY_RUN-first time}\n", ID: 2, Ready: true}}}
		// A hard start: lost answers, a gateway, a token that expires at once.
		p.Faults["POST /api/oauth2"] = []rltest.Fault{{Lose: true}, {Status: 503, Header: map[string]string{"Retry-After": "1"}}}
		p.Faults["GET /api/right_net/booter/get_boot_bundle"] = []rltest.Fault{{Status: 401}}
		p.Faults["POST /api/audit_entries/9001/append"] = []rltest.Fault{{Lose: true}}
	})

	text, code := rightlink(t, binary, "enroll", "--root", string(root), "--timeout", "2m")
	require.Zero(t, code, text)
	require.NotContains(t, text, p.Secret)
	calls := len(p.Calls())
	text, code = rightlink(t, binary, "enroll", "--root", string(root))
	require.Zero(t, code, text)
	require.Len(t, p.Calls(), calls, "enrolled already")
	p.Forget()

	agent := start(t, binary, root, "7 poweroff.target start waiting")
	require.Eventually(t, func() bool { return p.State() == "operational" }, 30*time.Second, 10*time.Millisecond, "the agent is not operational")
	require.Eventually(t, func() bool { return status1(t, binary, root).LastRecordedState == "operational" }, 10*time.Second, 50*time.Millisecond)
	checkEnvironment(t, out, root)
	s := status1(t, binary, root)
	require.True(t, s.Running && s.Enrolled)
	require.Equal(t, agent.cmd.Process.Pid, s.PID)
	require.Equal(t, []string{"web"}, s.PastScripts)
	require.Equal(t, "i-0123", s.ResourceUID)

	again, code := rightlink(t, binary, "run", "--root", string(root))
	require.Equal(t, 1, code)
	require.Contains(t, again, "another rightlink runs")

	p.Revoke() // the platform restarts and forgets its sessions
	agent.stop(t)
	require.Equal(t, []string{
		"POST /api/oauth2", "GET /api/sessions/instance", "POST /api/right_net/booter/declare",
		"PUT /api/right_net/state_recorder/record", "GET /api/right_net/booter/get_boot_bundle", "POST /api/oauth2",
		"GET /api/right_net/booter/get_boot_bundle", "GET /api/right_net/attachments/" + digest,
		"PUT /api/right_net/state_recorder/record", "PUT /api/right_net/state_recorder/record", "POST /api/oauth2",
		"PUT /api/right_net/state_recorder/record", "GET /api/right_net/booter/get_decommission_bundle",
		"PUT /api/right_net/state_recorder/record",
	}, p.Calls())
	records := p.Records()
	require.Equal(t, wire.StateRecord{State: "decommissioned", FromState: "decommissioning", Kind: "stop"}, records[len(records)-1])
	checkAudit(t, p)
	for _, secret := range []string{p.Secret, "acc3ss-t0ken", "att-token", "hunter2"} {
		require.NotContains(t, agent.text(), secret)
	}
	checkFiles(t, root, p.Secret)
}

func status1(t *testing.T, binary string, root paths.Root) (s summary) {
	text, code := rightlink(t, binary, "status", "--json", "--root", string(root))
	require.Zero(t, code)
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	return s
}

func checkEnvironment(t *testing.T, out string, root paths.Root) {
	env, err := os.ReadFile(filepath.Join(out, "env"))
	require.NoError(t, err)
	for _, want := range []string{
		"WHO=\"you\" $(id)\n", "EMPTY=\n", "EC2_INSTANCE_ID=i-0123\n", "RS_RN_ID=4711\n", "RS_ROLE=web\n", "RS_PUBLIC_IP=192.0.2.7\n",
		"RS_PRIVATE_IP=10.0.0.5\n", "RS_CLOUD_PROVIDER=ec2\n", "RS_DISTRO=debian\n", "RS_SELF_HREF=/api/clouds/1/instances/ABC\n", "client_id=4711\n", "account=71\n",
	} {
		require.Contains(t, string(env), want)
	}
	for _, no := range []string{"RS_RN_AUTH", "SECRET_OF_THE_HOST", "RS_REBOOT", "RS_ALREADY_RUN", "UNSET", "RS_PACKAGES", "LOG_LEVEL"} {
		require.NotContains(t, string(env), no)
	}
	cwd, err := os.ReadFile(filepath.Join(out, "cwd"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(cwd), root.Scripts()+"/rll-"))
	require.NoDirExists(t, strings.TrimSpace(string(cwd)))
	require.FileExists(t, filepath.Join(out, "site.tar"))
}

func checkAudit(t *testing.T, p *rltest.Platform) {
	entry := p.Entry("9001")
	lines := strings.Split(entry.Text, "\n")
	require.Equal(t, strings.Repeat("*", 80), lines[0])
	require.Regexp(t, `^\*RS> +RightScript: web +\*\*\*\*$`, lines[1])
	require.Equal(t, []string{`who="you" $(id) pw=(hidden) empty=<> unset=<absent>`, "attached"}, lines[2:4])
	require.Contains(t, entry.Summaries, "Completed: web")
	require.Equal(t, 1, strings.Count(entry.Text, "attached"), "the lost answer doubled nothing")
	require.Contains(t, p.Entry("9002").Text, "leaving because of stop, first time\n")
}

func checkFiles(t *testing.T, root paths.Root, secret string) {
	var f map[string]any
	text, err := os.ReadFile(root.State())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &f))
	require.Equal(t, "decommissioned", f["value"])
	require.Equal(t, "stop", f["decommission_type"])
	require.NoError(t, filepath.WalkDir(root.StateDir(), func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		if !d.IsDir() {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(text), secret)
		}
		return nil
	}))
}

func TestCommandLine(t *testing.T) {
	root := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":           {[]string{"--help"}, 0, "usage: rightlink"},
		"help of one":    {[]string{"run", "-h"}, 0, "usage: rightlink"},
		"nothing":        {nil, 1, "usage: rightlink"},
		"unknown":        {[]string{"start"}, 1, `no command "start"`},
		"unknown option": {[]string{"run", "--fast"}, 1, "see rightlink --help"},
		"argument":       {[]string{"run", "now"}, 1, `unexpected argument "now"`},
		"timeout":        {[]string{"enroll", "--timeout", "soon"}, 1, "such as 90s or 24h"},
		"no identity":    {[]string{"enroll", "--root", root}, 1, "no enrolment identity"},
		"dormant":        {[]string{"run", "--root", root}, 0, "dormant"},
		"status":         {[]string{"--root", root, "status"}, 0, "dormant"},
		"version":        {[]string{"version"}, 0, "0."},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Equal(t, tc.code, command(tc.args, &out, &errs), errs.String())
			require.Contains(t, out.String()+errs.String(), tc.want)
		})
	}
}
