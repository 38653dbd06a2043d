// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

const (
	// pluginName is AWS's own program for the data channel of a session.
	pluginName = "session-manager-plugin"
	// responseEnv hands the plugin its token out of sight of the process list.
	// Plugins after this version know it.
	responseEnv    = "AWS_SSM_START_SESSION_RESPONSE"
	lastWithoutEnv = "1.2.497.0"

	tunnelPause = 2 * time.Second
	quickEnd    = 10 * time.Second // a session that ends sooner never worked
	quickEnds   = 3                // so many of them in a row are a failure
)

// tunnel keeps a port of this machine forwarded to one of the build machine,
// through Systems Manager. A session that ends, as they do when idle for twenty
// minutes, is followed by another.
type tunnel struct {
	site     *site
	api      sessions
	runner   func(env []string) run.Runner
	plugin   string // path of the plugin
	withEnv  bool
	instance string
	remote   int
	port     int
	profile  string
	endpoint string
	patience time.Duration // how long the machine may take to register
	pause    time.Duration

	failed chan struct{} // closed when err is set
	err    error
}

// openTunnel starts the tunnel; it lives until the end of the build.
func (f *flow) openTunnel(ctx context.Context, j *step.Job) error {
	p, err := keyPlace.Get(j.State)
	if err != nil {
		return err
	}
	if p.iface != sessionManager || !f.config.withSSH() {
		return nil
	}
	id, err := keyInstance.Get(j.State)
	if err != nil {
		return err
	}
	path, err := findPlugin()
	if err != nil {
		return err
	}
	t := &tunnel{
		site: f.site, api: f.sessions, plugin: path, instance: id, remote: f.comm.SSHPort, profile: f.factory.Profile(),
		endpoint: f.ssmEndpoint(), patience: f.comm.SSHTimeout, pause: f.pause, failed: make(chan struct{}),
		runner: func(env []string) run.Runner { return run.Exec{Env: env} },
	}
	if t.withEnv, err = takesEnv(ctx, t.runner(nil), path); err != nil {
		return err
	}
	if t.port, err = freePort(ctx); err != nil {
		return err
	}
	life, cancel := context.WithCancel(f.life)
	done := make(chan struct{})
	go func() { defer close(done); t.keep(life) }()
	j.Owe("tunnel to "+id, func(context.Context) error { cancel(); <-done; return nil })
	keyTunnel.Put(j.State, t)
	return nil
}

func findPlugin() (string, error) {
	path, err := exec.LookPath(pluginName)
	if err != nil {
		return "", fmt.Errorf("ssh_interface = %q needs the program %s, which is not on PATH: install it (see the AWS Systems Manager user guide), or use another ssh_interface: %w",
			sessionManager, pluginName, err)
	}
	return path, nil
}

// takesEnv asks the plugin's version.
func takesEnv(ctx context.Context, runner run.Runner, path string) (bool, error) {
	out, err := runner.Run(ctx, path, "--version")
	if err != nil {
		return false, err
	}
	return newer(strings.TrimSpace(out), lastWithoutEnv), nil
}

// newer compares versions of numbers and dots.
func newer(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if p, q := part(x, i), part(y, i); p != q {
			return p > q
		}
	}
	return false
}

func part(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(errors.New("no TCP port"), l.Close())
	}
	return addr.Port, l.Close()
}

// keep holds a session open until ctx ends or it is clear that none stays open.
func (t *tunnel) keep(ctx context.Context) {
	began := time.Now()
	for quick, worked := 0, false; ; {
		start := time.Now()
		err := t.session(ctx)
		if ctx.Err() != nil {
			return
		}
		waiting := !worked && errorCode(err) == "TargetNotConnected" && time.Since(began) < t.patience
		switch long := time.Since(start) >= quickEnd; {
		case long:
			quick, worked = 0, true
		case !waiting:
			quick++
		}
		if err == nil {
			err = errors.New("the session ended")
		}
		if final(err) || quick >= quickEnds {
			t.err = fmt.Errorf("the tunnel to %s does not stay open: %w", t.instance, err)
			close(t.failed)
			return
		}
		if (wait.Real{}).Sleep(ctx, t.pause) != nil {
			return
		}
	}
}

// final reports whether another session would fail as well.
func final(err error) bool { return awsx.Class(err) == awsx.Denied }

// session opens one session and lasts as long as it does.
func (t *tunnel) session(ctx context.Context) error {
	in := &ssm.StartSessionInput{
		Target: aws.String(t.instance), DocumentName: aws.String("AWS-StartPortForwardingSession"),
		Parameters: map[string][]string{"portNumber": {strconv.Itoa(t.remote)}, "localPortNumber": {strconv.Itoa(t.port)}},
		Reason:     aws.String("image build"),
	}
	out, err := t.api.StartSession(ctx, in)
	if err != nil {
		return t.site.fail("open a session to "+t.instance, err)
	}
	id := aws.ToString(out.SessionId)
	end := func(ctx context.Context) error {
		_, err := t.api.TerminateSession(ctx, &ssm.TerminateSessionInput{SessionId: out.SessionId})
		if awsx.Class(err) == awsx.NotYet {
			return nil // it is over
		}
		return verdict(err)
	}
	debt := t.site.owed.Owe("session "+id+" in "+t.site.region, t.site.command("ssm", "terminate-session", "--session-id", id), end)
	err = t.run(ctx, in, out)
	if ctx.Err() == nil && end(ctx) == nil {
		t.site.owed.Forgive(debt)
	}
	return err
}

// run runs the plugin, which listens on the port until the session ends.
func (t *tunnel) run(ctx context.Context, in *ssm.StartSessionInput, out *ssm.StartSessionOutput) error {
	response, err := json.Marshal(map[string]*string{"SessionId": out.SessionId, "TokenValue": out.TokenValue, "StreamUrl": out.StreamUrl})
	if err != nil {
		return err
	}
	request, err := json.Marshal(map[string]any{"Target": in.Target, "DocumentName": in.DocumentName, "Parameters": in.Parameters})
	if err != nil {
		return err
	}
	first, env := string(response), []string(nil)
	if t.withEnv {
		first, env = responseEnv, []string{responseEnv + "=" + string(response)}
	}
	_, err = t.runner(env).Run(ctx, t.plugin, first, t.site.region, "StartSession", t.profile, string(request), t.endpoint)
	var failure *run.Error
	if errors.As(err, &failure) { // its text would show the token
		return fmt.Errorf("%s: %w: %s", pluginName, failure.Err, clip(strings.Join(strings.Fields(failure.Stderr), " "), 400))
	}
	return err
}

// guard cancels with the tunnel's error when it fails, until the returned
// function is called.
func (t *tunnel) guard(cancel context.CancelCauseFunc) func() {
	over := make(chan struct{})
	go func() {
		select {
		case <-t.failed:
			cancel(t.err)
		case <-over:
		}
	}()
	return func() { close(over) }
}
