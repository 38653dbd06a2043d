// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
	gossh "golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// TestMain lets the test binary stand in for AWS's session plugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == pluginName {
		if err := pluginMain(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// pluginMain takes the arguments of the real one, and forwards the port to the
// address in PLUGIN_TARGET.
func pluginMain(args []string) error {
	if len(args) == 1 && args[0] == "--version" {
		fmt.Println(os.Getenv("PLUGIN_VERSION"))
		return nil
	}
	if len(args) != 6 {
		return fmt.Errorf("%d arguments", len(args))
	}
	response := args[0]
	if response == responseEnv {
		response = os.Getenv(responseEnv)
	}
	var session struct{ SessionId, TokenValue, StreamUrl string }
	var request struct {
		Target, DocumentName string
		Parameters           map[string][]string
	}
	if err := errors.Join(json.Unmarshal([]byte(response), &session), json.Unmarshal([]byte(args[4]), &request)); err != nil {
		return err
	}
	if session.TokenValue != "the-token" || args[1] != "us-east-1" || args[2] != "StartSession" || request.Target != "i-1" ||
		request.DocumentName != "AWS-StartPortForwardingSession" || request.Parameters["portNumber"][0] != "22" || args[5] == "" {
		return fmt.Errorf("wrong arguments: %q", args)
	}
	if os.Getenv("PLUGIN_FAIL") != "" {
		return errors.New("the data channel is broken")
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+request.Parameters["localPortNumber"][0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			out, err := net.Dial("tcp", os.Getenv("PLUGIN_TARGET"))
			if err != nil {
				return
			}
			defer out.Close()
			go func() { _, _ = io.Copy(out, c) }()
			_, _ = io.Copy(c, out)
		}()
	}
}

// manager is Systems Manager.
type manager struct {
	mu      sync.Mutex
	errs    []error // of the first starts
	started int
	open    map[string]bool
}

func (m *manager) StartSession(_ context.Context, _ *ssm.StartSessionInput, _ ...func(*ssm.Options)) (*ssm.StartSessionOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started++
	if n := m.started - 1; n < len(m.errs) && m.errs[n] != nil {
		return nil, m.errs[n]
	}
	id := fmt.Sprintf("s-%d", m.started)
	m.open[id] = true
	return &ssm.StartSessionOutput{SessionId: aws.String(id), TokenValue: aws.String("the-token"), StreamUrl: aws.String("wss://x")}, nil
}

func (m *manager) TerminateSession(_ context.Context, in *ssm.TerminateSessionInput, _ ...func(*ssm.Options)) (*ssm.TerminateSessionOutput, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.open, aws.ToString(in.SessionId))
	return &ssm.TerminateSessionOutput{}, nil
}

// count is how many sessions were asked for, and how many are open.
func (m *manager) count() (started, open int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.started, len(m.open)
}

func installPlugin(t *testing.T, version, target string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, pluginName)))
	t.Setenv("PATH", dir)
	t.Setenv("PLUGIN_VERSION", version)
	t.Setenv("PLUGIN_TARGET", target)
}

func throughManager(t *testing.T, m *manager) (*flow, multistep.StateBag, *step.Action) {
	t.Helper()
	f, state := newConnection(t, newCloud())
	keyPlace.Put(state, place{iface: sessionManager})
	m.open = map[string]bool{}
	f.sessions = m
	var err error
	f.factory, err = awsx.New(t.Context(), awsx.Config{Region: "us-east-1", AccessKey: "AKIA", SecretKey: "x"})
	require.NoError(t, err)
	f.site.waiter.Clock = nil
	f.pause = 10 * time.Millisecond
	return f, state, step.Act("open a tunnel", f.openTunnel)
}

func TestTunnel(t *testing.T) {
	for _, version := range []string{"1.2.463.0", "1.2.700.0"} {
		t.Run(version, func(t *testing.T) {
			server := newSSHD(t, func(string, gossh.PublicKey) bool { return true })
			installPlugin(t, version, server.listener.Addr().String())
			// The agent of the machine registers only after a while.
			m := &manager{errs: []error{apiError("TargetNotConnected"), apiError("TargetNotConnected"), apiError("TargetNotConnected"), apiError("TargetNotConnected")}}
			f, state, open := throughManager(t, m)
			require.Equal(t, multistep.ActionContinue, open.Run(t.Context(), state))
			require.Equal(t, multistep.ActionContinue, (&connecting{f: f}).Run(t.Context(), state))
			started, running := m.count()
			require.Equal(t, 5, started)
			require.Equal(t, 1, running)
			require.Len(t, f.site.owed.Open(), 1)
			open.Cleanup(state)
			require.NoError(t, f.site.owed.Settle(t.Context(), time.Minute))
			require.Empty(t, m.open)
		})
	}
}

func TestTunnelFails(t *testing.T) {
	t.Run("no plugin", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, state, open := throughManager(t, &manager{})
		require.Equal(t, multistep.ActionHalt, open.Run(t.Context(), state))
		err := state.Get("error").(error)
		require.ErrorContains(t, err, `ssh_interface = "session_manager" needs the program session-manager-plugin, which is not on PATH`)
	})
	t.Run("denied", func(t *testing.T) {
		installPlugin(t, "1.2.700.0", "")
		f, state, open := throughManager(t, &manager{errs: []error{apiError("AccessDeniedException")}})
		require.Equal(t, multistep.ActionContinue, open.Run(t.Context(), state))
		require.Equal(t, multistep.ActionHalt, (&connecting{f: f}).Run(t.Context(), state))
		require.ErrorContains(t, state.Get("error").(error), "the tunnel to i-1 does not stay open: open a session to i-1")
		open.Cleanup(state)
	})
	t.Run("broken while provisioning", func(t *testing.T) {
		installPlugin(t, "1.2.463.0", "")
		t.Setenv("PLUGIN_FAIL", "1")
		m := &manager{}
		f, state, open := throughManager(t, m)
		require.Equal(t, multistep.ActionContinue, open.Run(t.Context(), state))
		state.Put("communicator", packersdk.Communicator(new(packersdk.MockCommunicator)))
		state.Put("hook", packersdk.Hook(waitingHook{}))
		provision := step.Act("provision", f.provision)
		require.Equal(t, multistep.ActionHalt, provision.Run(t.Context(), state))
		err := state.Get("error").(error)
		require.ErrorContains(t, err, "the data channel is broken")
		require.False(t, strings.Contains(err.Error(), "the-token"), "no token in errors")
		started, _ := m.count()
		require.Equal(t, quickEnds, started)
		open.Cleanup(state)
		require.NoError(t, f.site.owed.Settle(t.Context(), time.Minute))
		require.Empty(t, m.open)
	})
}

// waitingHook is a provisioner that only ends with its context.
type waitingHook struct{}

func (waitingHook) Run(ctx context.Context, name string, _ packersdk.Ui, _ packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestVersions(t *testing.T) {
	for a, want := range map[string]bool{"1.2.497.0": false, "1.2.498.0": true, "1.2.49.0": false, "2": true, "1.2": false, "": false, "1.2.497.0.1": true} {
		require.Equal(t, want, newer(a, lastWithoutEnv), a)
	}
}
