// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// replica is one process of rightscaled.
type replica struct {
	binary, data, database, identity string
	listen                           string
	cmd                              *exec.Cmd
	done                             chan error
}

// start runs it and waits until it serves. A second start takes the same port.
func (r *replica) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(r.data, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	_ = os.Remove(filepath.Join(r.data, "serve.json")) // of one that was killed
	args := []string{"serve", "--data", r.data, "--listen", r.listen, "--hostname", host + ":443", "--log-level", "warn",
		"--identity-certificates", r.identity, "--no-aws-certificates", "--allow-account", account}
	if r.database != "" {
		args = append(args, "--database", r.database)
	}
	cmd := exec.Command(r.binary, args...) //nolint:noctx // stop and kill end it
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.cmd, r.done = cmd, make(chan error, 1)
	go func() { r.done <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if address, err := r.served(); err == nil {
			r.listen = address
			return nil
		}
		select {
		case err := <-r.done:
			return fmt.Errorf("rightscaled ended: %w\n%s", err, r.log())
		case <-ctx.Done():
			return fmt.Errorf("rightscaled does not serve: %w\n%s", ctx.Err(), r.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (r *replica) served() (address string, err error) {
	raw, err := os.ReadFile(filepath.Join(r.data, "serve.json"))
	if err != nil {
		return "", err
	}
	var s struct{ Endpoint string }
	err = json.Unmarshal(raw, &s)
	return strings.TrimPrefix(s.Endpoint, "https://"), err
}

// log is the end of what it has said.
func (r *replica) log() string {
	raw, _ := os.ReadFile(filepath.Join(r.data, "serve.log")) // empty, if it cannot be read
	return string(raw[max(0, len(raw)-4000):])
}

// kill ends it as a power cut would.
func (r *replica) kill() error {
	err := r.cmd.Process.Kill()
	<-r.done //nolint:errcheck // the kill is how it ended
	r.cmd = nil
	return err
}

// stop ends it as an operator would, and wants it to end well.
func (r *replica) stop() error {
	if r.cmd == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		r.cmd = nil
		if err != nil {
			return fmt.Errorf("rightscaled ended: %w\n%s", err, r.log())
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("rightscaled did not end"), r.kill())
	}
}

// cpu is the processor time that it has used.
func (r *replica) cpu() time.Duration {
	if r.cmd == nil {
		return 0
	}
	return storetest.ProcessTime(r.cmd.Process.Pid)
}
