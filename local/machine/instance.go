// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// pressEvery is how often the power button is pressed while waiting for the
// guest: early in its boot nobody there listens, and later presses do no harm.
const pressEvery = 3 * time.Second

// instance is one machine, running or not.
type instance struct {
	m      *Manager
	id     string
	accel  string
	relay  []string
	socket string // path of the metadata service's socket

	op sync.Mutex // held by the one operation (start, stop, reboot) under way

	mu     sync.Mutex // guards the rest
	giveUp context.CancelCauseFunc
	spec   Spec
	proc   *process // nil when stopped
	meta   *metadata
	port   int // of sshHost
	// addrPort is the port of the Addresses, 0 when they could not be had.
	addrPort int
	started  time.Time
	reason   string
	// rebooting is set while a reboot has no process; the machine counts as running.
	rebooting bool
}

// operate makes the caller the only operation on the machine, giving up the
// one under way. The context ends with the caller's, with the Manager, and
// when the next operation comes.
func (i *instance) operate(parent context.Context) (context.Context, func(), error) {
	i.mu.Lock()
	if i.giveUp != nil {
		i.giveUp(errStopped)
	}
	i.mu.Unlock()
	i.op.Lock()
	ctx, cancel := context.WithCancelCause(parent)
	unhook := context.AfterFunc(i.m.life, func() { cancel(ErrClosed) })
	i.mu.Lock()
	i.giveUp = cancel
	i.mu.Unlock()
	done := func() {
		unhook()
		cancel(nil)
		i.op.Unlock()
	}
	if i.m.life.Err() != nil {
		done()
		return nil, nil, ErrClosed
	}
	return ctx, done, nil
}

func (i *instance) start(ctx context.Context, s Spec) error {
	if i.status().State == StateRunning {
		return errors.New("it is running already")
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	for _, d := range s.Disks {
		if err := d.make(ctx, i.m.opts.QEMUImg); err != nil {
			return err
		}
	}
	meta, err := serveMetadata(s, i.m.opts.Authority, i.socket)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.spec, i.meta = s, meta
	i.mu.Unlock()
	if err := i.boot(ctx); err != nil {
		meta.close()
		return err
	}
	return nil
}

// boot runs QEMU for the current spec. The port in use by an earlier run is
// kept, so that a reboot changes nothing for those who log in.
func (i *instance) boot(ctx context.Context) error {
	i.mu.Lock()
	s, w := i.spec, wiring{accel: i.accel, relay: i.relay, imds: i.socket, sshPort: i.port, addrPort: i.addrPort}
	i.mu.Unlock()
	proc, w, err := i.runQEMU(ctx, s, w)
	if err != nil {
		return err
	}
	if err := writeSSH(s.Dir, w.sshPort); err != nil {
		proc.kill()
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.proc, i.port, i.addrPort, i.started, i.reason = proc, w.sshPort, w.addrPort, time.Now(), ""
	i.m.running.Add(1)
	go i.watch(proc)
	return nil
}

// watch notes the end of a QEMU and reports it when nobody asked for it.
func (i *instance) watch(proc *process) {
	defer i.m.running.Done()
	<-proc.done
	<-proc.ctl.ended
	proc.ctl.close()
	i.mu.Lock()
	if proc.told || i.proc != proc { // whoever ended it notes the rest
		i.mu.Unlock()
		return
	}
	if proc.ctl.reset {
		i.proc, i.rebooting = nil, true
		i.mu.Unlock()
		i.bootAfterReset()
		return
	}
	reason, orderly := proc.reason()
	i.down(reason)
	i.mu.Unlock()
	i.m.report(Event{ID: i.id, PoweredOff: orderly, Reason: reason})
}

// bootAfterReset boots a machine that has reset itself, unless it was stopped in
// the meantime.
func (i *instance) bootAfterReset() {
	ctx, done, err := i.operate(context.Background())
	if err != nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.down("the local cloud was closed")
		return
	}
	defer done()
	i.mu.Lock()
	wanted := i.rebooting
	i.mu.Unlock()
	if wanted && i.bootAgain(ctx) == nil {
		i.m.opts.Log.Info("machine rebooted itself", "id", i.id)
	}
}

// down notes that the machine is off. The caller holds mu.
func (i *instance) down(reason string) {
	i.proc, i.rebooting, i.reason = nil, false, reason
	i.meta.close()
}

// take marks the running process as being ended on purpose, so that its end is
// no event; nil when none runs.
func (i *instance) take() *process {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.proc != nil {
		i.proc.told = true
	}
	return i.proc
}

func (i *instance) stop(ctx context.Context, bound time.Duration) {
	proc := i.take()
	if proc == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.rebooting { // a reset whose boot has not begun
			i.down("stopped while it was rebooting")
		}
		return
	}
	reason := "stopped by power button"
	if !powerDown(ctx, proc, bound) {
		reason = fmt.Sprintf("ended by force, the guest was not off after %s", bound)
		proc.kill()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down(reason)
	i.m.opts.Log.Info("machine stopped", "id", i.id, "reason", reason)
}

func (i *instance) reboot(ctx context.Context, bound time.Duration) error {
	proc := i.take()
	if proc == nil {
		return errors.New("it is not running")
	}
	if !powerDown(ctx, proc, bound) && ctx.Err() == nil {
		if _, err := proc.ctl.run(ctx, "system_reset"); err == nil {
			i.untake(proc)
			return nil
		}
		proc.kill() // it went off this very moment, or answers no more
	}
	if ctx.Err() != nil {
		i.untake(proc)
		return context.Cause(ctx)
	}
	return i.bootAgain(ctx)
}

// untake leaves the process to itself again. Should it have ended while it was
// taken, watch has let that pass, so watch looks at it again.
func (i *instance) untake(proc *process) {
	i.mu.Lock()
	defer i.mu.Unlock()
	proc.told = false
	select {
	case <-proc.done:
		i.m.running.Add(1)
		go i.watch(proc)
	default:
	}
}

// bootAgain is the second half of a reboot. Without it the machine would be
// running in the eyes of its owner, so a failure is reported as an event too.
func (i *instance) bootAgain(ctx context.Context) error {
	i.mu.Lock()
	i.proc, i.rebooting = nil, true
	i.mu.Unlock()
	err := i.boot(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rebooting = false
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	i.down(err.Error())
	if !errors.Is(err, errStopped) {
		i.m.report(Event{ID: i.id, Reason: err.Error()})
	}
	return err
}

// end kills the machine, whatever is under way.
func (i *instance) end() {
	i.op.Lock() // operations have been cancelled and leave soon
	defer i.op.Unlock()
	if proc := i.take(); proc != nil {
		proc.kill()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.down("the local cloud was closed")
	}
}

// powerDown presses the power button until the guest is off; false after bound.
func powerDown(ctx context.Context, proc *process, bound time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	press := time.NewTicker(pressEvery)
	defer press.Stop()
	for {
		// An error here means QEMU has just ended, or the bound is over.
		_, _ = proc.ctl.run(ctx, "system_powerdown")
		select {
		case <-proc.done:
			return true
		case <-ctx.Done():
			return false
		case <-press.C:
		}
	}
}

func (i *instance) status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	st := Status{ID: i.id, State: StateStopped, Accel: i.accel, Started: i.started, Reason: i.reason, SSHHost: sshHost, SSHPort: i.port, AddressPort: i.addrPort}
	if i.proc != nil {
		st.State, st.PID = StateRunning, i.proc.pid
	} else if i.rebooting {
		st.State = StateRunning
	}
	return st
}

func (i *instance) setTags(tags map[string]string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.spec.Tags = tags
	if i.meta != nil {
		i.meta.server.SetTags(tags)
	}
}
