// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	connect "github.com/aws/aws-sdk-go-v2/service/ec2instanceconnect"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// pusher is EC2 Instance Connect for an sshd: a key is good for one login.
type pusher struct {
	mu   sync.Mutex
	keys []string // pushed and not used yet
	all  int
	err  error
}

func (p *pusher) SendSSHPublicKey(_ context.Context, in *connect.SendSSHPublicKeyInput, _ ...func(*connect.Options)) (*connect.SendSSHPublicKeyOutput, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(aws.ToString(in.SSHPublicKey)))
	if err != nil {
		return nil, err
	}
	p.keys, p.all = append(p.keys, aws.ToString(in.InstanceOSUser)+" "+string(key.Marshal())), p.all+1
	return &connect.SendSSHPublicKeyOutput{Success: aws.ToString(in.InstanceId) == "i-1"}, nil
}

func (p *pusher) allowed(user string, key gossh.PublicKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.keys {
		if k == user+" "+string(key.Marshal()) {
			return true
		}
	}
	return false
}

// newConnection is a flow that has come as far as connecting to i-1.
func newConnection(t *testing.T, c *cloud) (*flow, multistep.StateBag) {
	t.Helper()
	b, err := prepared(t, map[string]any{"ssh_timeout": "20s"})
	require.NoError(t, err)
	f := &flow{config: &b.config, comm: b.config.Comm, site: newSite(t), ec2: c, life: t.Context()}
	state := new(multistep.BasicStateBag)
	state.Put("ui", &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard})
	keyInstance.Put(state, "i-1")
	keyPlace.Put(state, place{iface: publicIP})
	c.machines["i-1"] = &types.Instance{InstanceId: aws.String("i-1"), State: &types.InstanceState{Name: types.InstanceStateNameRunning}, PublicIpAddress: aws.String("127.0.0.1")}
	pair, err := newKey("", 0)
	require.NoError(t, err)
	f.comm.SSHPrivateKey, f.comm.SSHPublicKey = pair.Private, pair.Public
	return f, state
}

func TestConnect(t *testing.T) {
	c := newCloud()
	f, state := newConnection(t, c)
	server := newSSHD(t, func(user string, key gossh.PublicKey) bool {
		want, _, _, _, err := gossh.ParseAuthorizedKey(f.comm.SSHPublicKey)
		return err == nil && user == "admin" && bytes.Equal(key.Marshal(), want.Marshal())
	})
	f.config.Comm.SSHPort = server.port()
	require.Equal(t, multistep.ActionContinue, (&connecting{f: f}).Run(t.Context(), state))
	require.Equal(t, server.port(), f.comm.SSHPort)

	// The key goes, with the commands that the machine runs for it.
	j := &step.Job{State: state, UI: state.Get("ui").(packersdk.Ui)}
	require.NoError(t, f.forgetKey(t.Context(), j))
	require.Len(t, server.ran(), 1)
	require.Contains(t, server.ran()[0], strings.Fields(string(f.comm.SSHPublicKey))[1])
}

func TestConnectThroughTheLocalCloudsTag(t *testing.T) {
	c := newCloud()
	f, state := newConnection(t, c)
	server := newSSHD(t, func(string, gossh.PublicKey) bool { return true })
	f.site.local = true
	c.machines["i-1"].PublicIpAddress = aws.String("203.0.113.1")
	c.machines["i-1"].Tags = []types.Tag{{Key: aws.String(localcloud.TagSSH), Value: aws.String(server.listener.Addr().String())}}
	require.Equal(t, multistep.ActionContinue, (&connecting{f: f}).Run(t.Context(), state))
}

// Every login has its key pushed right before it: the first one, and the one
// after the connection was lost.
func TestInstanceConnect(t *testing.T) {
	c := newCloud()
	f, state := newConnection(t, c)
	p := &pusher{}
	server := newSSHD(t, p.allowed)
	f.config.InstanceConnect, f.keys, f.config.Comm.SSHPort = true, p, server.port()
	require.Equal(t, multistep.ActionContinue, (&connecting{f: f}).Run(t.Context(), state))
	require.Equal(t, 1, p.all)

	p.mu.Lock()
	p.keys = nil // the minute is over
	p.mu.Unlock()
	server.drop()
	comm := state.Get("communicator").(packersdk.Communicator)
	require.Eventually(t, func() bool {
		cmd := &packersdk.RemoteCmd{Command: "true"}
		if comm.Start(t.Context(), cmd) != nil {
			return false
		}
		return cmd.Wait() == 0
	}, 20*time.Second, 100*time.Millisecond)
	require.Equal(t, 2, p.all)
}

// No halt ends without an error, and none waits longer than it must.
func TestConnectFails(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*flow, *cloud, context.CancelFunc)
		want   string
	}{
		"nobody answers": {func(f *flow, _ *cloud, _ context.CancelFunc) {
			f.comm.SSHTimeout = 1500 * time.Millisecond
			f.config.Comm.SSHPort = 1
		}, "tried admin@127.0.0.1 port 1: check ssh_username"},
		"machine is gone": {func(_ *flow, c *cloud, _ context.CancelFunc) {
			c.machines["i-1"].State.Name = types.InstanceStateNameTerminated
			c.machines["i-1"].StateTransitionReason = aws.String("Server.SpotInstanceTermination")
		}, "instance i-1 is terminated: Server.SpotInstanceTermination"},
		"cancelled": {func(f *flow, _ *cloud, cancel context.CancelFunc) {
			f.config.Comm.SSHPort = 1
			time.AfterFunc(200*time.Millisecond, cancel)
		}, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud()
			f, state := newConnection(t, c)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tc.change(f, c, cancel)
			start := time.Now()
			require.Equal(t, multistep.ActionHalt, (&connecting{f: f}).Run(ctx, state))
			err, _ := state.Get("error").(error)
			require.ErrorContains(t, err, tc.want)
			require.Less(t, time.Since(start), 10*time.Second)
		})
	}
}

func TestPushFails(t *testing.T) {
	s := newSite(t)
	require.ErrorContains(t, s.pushKey(t.Context(), &pusher{err: apiError("AuthException")}, "i-1", "u", []byte("ssh-ed25519 AAAA")), "push the key to i-1 in us-east-1")
	pair, err := newKey("", 0)
	require.NoError(t, err)
	require.ErrorContains(t, s.pushKey(t.Context(), &pusher{}, "i-2", "u", pair.Public), "did not take it")
}

// The script really takes the key out, and nothing else.
func TestForgetKey(t *testing.T) {
	pair, err := newKey("", 0)
	require.NoError(t, err)
	other, err := newKey("rsa", 2048)
	require.NoError(t, err)
	home := t.TempDir()
	file := filepath.Join(home, ".ssh", "authorized_keys")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	kept := strings.TrimSpace(string(other.Public)) + " someone\n"
	require.NoError(t, os.WriteFile(file, []byte(kept+strings.TrimSpace(string(pair.Public))+" rightimage\n"), 0o600))
	// Not the sudo half: it would change this machine's root.
	script, _, _ := strings.Cut(forgetKey(pair.Public), "; if command -v sudo")
	script = strings.ReplaceAll(script, "/root/.ssh", filepath.Join(home, "root"))
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	cmd.Env = append(os.Environ(), "HOME="+home)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	left, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, kept, string(left))
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Empty(t, forgetKey(nil))
}

// In debug mode only, the private key is on disk, for its owner, until the end.
func TestShowKey(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCloud()
	f, state := newConnection(t, c)
	a := step.Act("make a key", f.makeKey)
	require.Equal(t, multistep.ActionContinue, a.Run(t.Context(), state))
	a.Cleanup(state)
	require.Empty(t, files(t))
	f.config.PackerDebug, f.config.PackerBuildName = true, "web"
	require.Equal(t, multistep.ActionContinue, a.Run(t.Context(), state))
	info, err := os.Stat("rightimage_web.pem")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	data, err := os.ReadFile("rightimage_web.pem")
	require.NoError(t, err)
	require.Equal(t, f.comm.SSHPrivateKey, data)
	a.Cleanup(state)
	require.Empty(t, files(t))
	require.Contains(t, string(f.comm.SSHPublicKey), "ssh-ed25519 ")
}

func files(t *testing.T) []string {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
