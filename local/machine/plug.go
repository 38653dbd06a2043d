// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// unplugBound is how long a guest may take to let go of a disk. One that boots,
// or has no driver for it, never does.
const unplugBound = 30 * time.Second

// Plug gives a running machine another disk. For one that is off there is
// nothing to do: its next Start names the disk.
func (m *Manager) Plug(ctx context.Context, id string, d Disk) error {
	if err := d.complete(); err != nil {
		return err
	}
	return m.change(ctx, id, func(ctx context.Context, i *instance, proc *process) error {
		if err := d.make(ctx, m.opts.QEMUImg); err != nil {
			return err
		}
		if _, err := proc.ctl.call(ctx, "blockdev-add", d.blockdev()); err != nil {
			return err
		}
		if _, err := proc.ctl.call(ctx, "device_add", d.device()); err != nil {
			_, _ = proc.ctl.call(ctx, "blockdev-del", map[string]any{"node-name": d.node()})
			return err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.spec.Disks = append(slices.Clone(i.spec.Disks), d)
		return nil
	})
}

// Unplug takes a disk from a running machine and waits until its guest has let
// go of it.
func (m *Manager) Unplug(ctx context.Context, id string, d Disk) error {
	return m.change(ctx, id, func(ctx context.Context, i *instance, proc *process) error {
		if _, err := proc.ctl.call(ctx, "device_del", map[string]any{"id": "dev-" + d.node()}); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, unplugBound)
		defer cancel()
		for {
			// QEMU refuses as long as the device is there.
			_, err := proc.ctl.call(ctx, "blockdev-del", map[string]any{"node-name": d.node()})
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the guest has not let go of disk %s: %w", d.ID, err)
			case <-time.After(100 * time.Millisecond):
			}
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.spec.Disks = slices.DeleteFunc(slices.Clone(i.spec.Disks), func(other Disk) bool { return other.ID == d.ID })
		return nil
	})
}

// Resize tells a running machine the new, larger size of a disk. For one that is
// off there is nothing to do: its next Start names the size.
func (m *Manager) Resize(ctx context.Context, id string, d Disk) error {
	return m.change(ctx, id, func(ctx context.Context, i *instance, proc *process) error {
		if _, err := proc.ctl.call(ctx, "block_resize", map[string]any{"node-name": d.node(), "size": d.Size}); err != nil {
			return err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.spec.Disks = slices.Clone(i.spec.Disks)
		for n := range i.spec.Disks {
			if i.spec.Disks[n].ID == d.ID {
				i.spec.Disks[n].Size = d.Size
			}
		}
		return nil
	})
}

// Frozen runs work while the machine stands still, with everything that its
// guest has written in its disks' files. It is what a snapshot of a running
// machine sees: the state after a power cut, and no worse. A machine that is off
// stands still anyway.
func (m *Manager) Frozen(ctx context.Context, id string, work func(context.Context) error) error {
	frozen := false
	err := m.change(ctx, id, func(ctx context.Context, _ *instance, proc *process) error {
		frozen = true
		if _, err := proc.ctl.run(ctx, "stop"); err != nil { // flushes too
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
			defer cancel()
			if _, err := proc.ctl.run(ctx, "cont"); err != nil {
				m.opts.Log.Warn("machine does not go on", "id", id, "error", err)
			}
		}()
		return work(ctx)
	})
	if err != nil || frozen {
		return err
	}
	return work(ctx)
}

// change lets f talk to the QEMU of a running machine, as the only operation on
// it. It does nothing for a machine that is off or unknown.
func (m *Manager) change(ctx context.Context, id string, f func(context.Context, *instance, *process) error) error {
	i, err := m.find(id)
	if err != nil {
		return nil // never started: it is off
	}
	ctx, done, err := i.operate(ctx)
	if err != nil {
		return err
	}
	defer done()
	i.mu.Lock()
	proc := i.proc
	i.mu.Unlock()
	if proc == nil {
		return nil
	}
	if err := f(ctx, i, proc); err != nil {
		return fmt.Errorf("machine %s: %w", id, err)
	}
	return nil
}
