// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package machine runs EC2 instances as QEMU machines on this host: each boots
// an overlay of its image's snapshot, sees its metadata service at
// 169.254.169.254 and the declared forwards, and nothing else.
package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// defaultRebootBound is how long a guest may take to shut down for Reboot.
// Debian under software emulation needs about ten seconds, plus its boot
// scripts' own clean-up.
const defaultRebootBound = 90 * time.Second

// Manager owns the machines of one local cloud.
type Manager struct {
	opts Options
	// life ends with Close, and with it every operation under way.
	life   context.Context //nolint:containedctx // the Manager's own life, not a request's
	cancel context.CancelFunc

	mu       sync.Mutex
	machines map[string]*instance
	closed   bool
	running  sync.WaitGroup // watchers of processes
	accel    string         // found by the first Start
	sockets  string         // short folder for unix sockets
}

// New makes a Manager without starting anything.
func New(opts Options) *Manager {
	if opts.QEMU == "" {
		opts.QEMU = "qemu-system-x86_64"
	}
	if opts.QEMUImg == "" {
		opts.QEMUImg = "qemu-img"
	}
	if opts.RebootBound == 0 {
		opts.RebootBound = defaultRebootBound
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	life, cancel := context.WithCancel(context.Background())
	return &Manager{opts: opts, life: life, cancel: cancel, machines: map[string]*instance{}, accel: opts.Accel}
}

// Start boots the machine and returns once QEMU runs it (the guest is then
// still booting). An overlay left by an earlier run is booted again. ctx bounds
// the start only.
func (m *Manager) Start(ctx context.Context, s Spec) error {
	s, err := s.complete()
	if err != nil {
		return err
	}
	inst, err := m.claim(ctx, s)
	if err != nil {
		return err
	}
	ctx, done, err := inst.operate(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := inst.start(ctx, s); err != nil {
		m.dropNew(inst)
		return fmt.Errorf("start machine %s: %w", s.ID, err)
	}
	m.opts.Log.Info("machine started", "id", s.ID, "accel", inst.accel, "ssh_port", inst.status().SSHPort)
	return nil
}

// claim prepares what machines share and enters the instance.
func (m *Manager) claim(ctx context.Context, s Spec) (*instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if m.sockets == "" {
		dir, err := os.MkdirTemp("", "ri-")
		if err != nil {
			return nil, fmt.Errorf("socket folder: %w", err)
		}
		m.sockets = dir
	}
	if m.accel == "" {
		m.accel = probeAccel(ctx, m.opts.QEMU, m.sockets)
	}
	if inst := m.machines[s.ID]; inst != nil {
		return inst, nil
	}
	relay := m.opts.Relay
	if len(relay) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program for the relay: %w", err)
		}
		relay = []string{self, "local", "relay"}
	}
	inst := &instance{m: m, id: s.ID, accel: m.accel, relay: relay, socket: filepath.Join(m.sockets, s.ID)}
	m.machines[s.ID] = inst
	return inst, nil
}

// Stop presses the power button, and ends QEMU when the guest is not off
// within bound. Stopping a stopped machine is no error. A reboot under way is
// given up. When ctx ends first, QEMU is ended at once.
func (m *Manager) Stop(ctx context.Context, id string, bound time.Duration) error {
	inst, err := m.find(id)
	if err != nil {
		return err
	}
	ctx, done, err := inst.operate(ctx)
	if err != nil {
		return err
	}
	defer done()
	inst.stop(ctx, bound)
	return nil
}

// Reboot shuts the guest down and boots the same disk again; a guest that does
// not shut down in time is reset. It returns when the machine boots again.
func (m *Manager) Reboot(ctx context.Context, id string) error {
	inst, err := m.find(id)
	if err != nil {
		return err
	}
	ctx, done, err := inst.operate(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := inst.reboot(ctx, m.opts.RebootBound); err != nil {
		return fmt.Errorf("reboot machine %s: %w", id, err)
	}
	m.opts.Log.Info("machine rebooted", "id", id)
	return nil
}

// Console returns what the machine wrote to its serial console, at most the
// last MiB. It works for a stopped machine too.
func (m *Manager) Console(id string) ([]byte, error) {
	inst, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return inst.console()
}

// Status tells the state of a machine.
func (m *Manager) Status(id string) (Status, error) {
	inst, err := m.find(id)
	if err != nil {
		return Status{}, err
	}
	return inst.status(), nil
}

// SetTags changes the tags that the metadata shows, for a machine launched with
// tags in its metadata.
func (m *Manager) SetTags(id string, tags map[string]string) error {
	inst, err := m.find(id)
	if err != nil {
		return err
	}
	inst.setTags(tags)
	return nil
}

// Forget drops a stopped machine from memory; its Dir is the caller's to remove.
func (m *Manager) Forget(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	inst := m.machines[id]
	if inst == nil {
		return fmt.Errorf("machine %s: %w", id, ErrUnknown)
	}
	if inst.status().State == StateRunning {
		return fmt.Errorf("machine %s is running: stop it before forgetting it", id)
	}
	delete(m.machines, id)
	return nil
}

// Close ends all machines at once and waits until no QEMU is left. The Manager
// is of no use afterwards.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.cancel()
	all := make([]*instance, 0, len(m.machines))
	for _, inst := range m.machines {
		all = append(all, inst)
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, inst := range all {
		wg.Go(inst.end)
	}
	wg.Wait()
	m.running.Wait()
	if m.sockets == "" {
		return nil
	}
	return os.RemoveAll(m.sockets)
}

func (m *Manager) find(id string) (*instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if inst := m.machines[id]; inst != nil {
		return inst, nil
	}
	return nil, fmt.Errorf("machine %s: %w", id, ErrUnknown)
}

// dropNew forgets a machine whose very first start went wrong.
func (m *Manager) dropNew(inst *instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if inst.status().Started.IsZero() {
		delete(m.machines, inst.id)
	}
}

// report tells the owner of the Manager, unless it is closing down itself.
func (m *Manager) report(e Event) {
	m.opts.Log.Info("machine went down", "id", e.ID, "powered_off", e.PoweredOff, "reason", e.Reason)
	if m.opts.OnEvent == nil || m.life.Err() != nil {
		return
	}
	go m.opts.OnEvent(e)
}

// errStopped: an operation was given up because another one took its place.
var errStopped = errors.New("given up: the machine is being stopped")
