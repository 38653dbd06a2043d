// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// How long a cancelled provisioner may take to notice, and how long the
// template's error-cleanup-provisioner may run.
const (
	cancelGrace  = 15 * time.Second
	cleanupLimit = 5 * time.Minute
)

// provision runs the template's provisioners in the chroot. When one fails, the
// error-cleanup-provisioner still finds the disk mounted.
func (f *flow) provision(ctx context.Context, j *job) error {
	a, err := keyAttach.get(j.state)
	if err != nil {
		return err
	}
	hook, ok := j.state.Get("hook").(packersdk.Hook)
	if !ok {
		return errors.New("no provision hook in the state")
	}
	data := commonsteps.PopulateProvisionHookData(j.state)
	j.state.Put("generated_data", data)

	comm := newCommunicator(ctx, a.dir, f.root)
	defer comm.close(cancelGrace)
	// Behind sudo only root can end the commands of a cancelled build.
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := short(ctx)
		defer cancel()
		_ = killInside(ctx, f.root, a.dir) // unmounting tries again and reports
	})
	defer stop()
	err = waitFor(ctx, cancelGrace, func() error {
		return hook.Run(ctx, packersdk.HookProvision, j.ui, comm, data)
	})
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	cctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	if cerr := hook.Run(cctx, packersdk.HookCleanupProvision, j.ui, comm, data); cerr != nil {
		return fmt.Errorf("%w; the cleanup provisioner failed too: %w", err, cerr)
	}
	return err
}

// waitFor waits for fn. Once the context has ended it waits no longer than
// grace, since what hangs in another process cannot be stopped from here.
func waitFor(ctx context.Context, grace time.Duration, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return errors.New("a provisioner did not stop")
	}
}
