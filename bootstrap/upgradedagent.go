// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/packages"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/supervise"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/upgrade"
)

// service is the agent under systemd, or under our own supervisor.
type service struct {
	a       *Agent
	systemd bool
}

// Restart implements upgrade.Service. Systemd tells the agent that this is a
// restart. Without it the agent is killed, since a SIGTERM would decommission
// the instance; the supervisor starts it again.
func (s service) Restart(ctx context.Context) error {
	if s.systemd {
		_, err := s.a.Run.Run(ctx, "systemctl", "restart", "--no-block", "rightlink.service")
		return err
	}
	if st, err := s.status(ctx); err == nil && st.Running && st.PID > 1 {
		return syscall.Kill(st.PID, syscall.SIGKILL)
	}
	// A supervisor that is there tries again by itself; one that has given up on
	// the new agent is needed again for the old one.
	if _, runs, err := supervise.Status(s.a.Root); err != nil || runs {
		return err
	}
	if _, err := s.a.StartSupervisor(ctx, s.a.path(program)); err != nil {
		s.a.Log.Warn("start the supervisor", "error", err)
	}
	return nil
}

// agentStatus is what "rightlink status --json" says.
type agentStatus struct {
	Running bool   `json:"running"`
	PID     int    `json:"pid"`
	Problem string `json:"problem"`
}

func (s service) status(ctx context.Context) (agentStatus, error) {
	var st agentStatus
	args := []string{"status", "--json"}
	if filepath.Clean(s.a.Root) != "/" {
		args = append([]string{"--root", s.a.Root}, args...)
	}
	out, err := s.a.Run.Run(ctx, s.a.path(packages.LinkBin), args...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	if err != nil {
		return st, fmt.Errorf("%w: %w", upgrade.ErrBroken, err)
	}
	return st, nil
}

// maxRestarts is how often systemd may have started a new agent again.
const maxRestarts = 5

// crashes counts how often systemd has started the agent again.
func (s service) crashes(ctx context.Context) int {
	if !s.systemd {
		return 0
	}
	out, err := s.a.Run.Run(ctx, "systemctl", "show", "--property=NRestarts", "--value", "rightlink.service")
	n, convErr := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || convErr != nil {
		return 0
	}
	return n
}

// Healthy implements upgrade.Service: the agent runs, and systemd has heard
// that it is ready.
func (s service) Healthy(ctx context.Context) (int, error) {
	st, err := s.status(ctx)
	switch {
	case err != nil:
		return 0, err
	case !st.Running:
		if n := s.crashes(ctx); n >= maxRestarts {
			return 0, fmt.Errorf("%w: it ended %d times", upgrade.ErrBroken, n)
		}
		return 0, errors.New("the agent does not run")
	case st.Problem != "":
		return 0, errors.New(st.Problem)
	}
	if s.systemd {
		if out, err := s.a.Run.Run(ctx, "systemctl", "is-active", "rightlink.service"); err != nil {
			return 0, fmt.Errorf("rightlink.service is %s", strings.TrimSpace(out))
		}
	}
	return st.PID, nil
}
