// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// CancelGrace is how long a cancelled provisioner may take to notice.
const CancelGrace = 15 * time.Second

// cleanupLimit is how long the template's error-cleanup-provisioner may run.
const cleanupLimit = 5 * time.Minute

// Provision runs the template's provisioners through comm. When one fails, the
// error-cleanup-provisioner runs while the machine is still there.
func (j *Job) Provision(ctx context.Context, comm packersdk.Communicator) error {
	hook, ok := j.State.Get("hook").(packersdk.Hook)
	if !ok {
		return errors.New("no provision hook in the state")
	}
	data := commonsteps.PopulateProvisionHookData(j.State)
	j.State.Put("generated_data", data)
	err := waitFor(ctx, CancelGrace, func() error {
		return hook.Run(ctx, packersdk.HookProvision, j.UI, comm, data)
	})
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	cctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	if cerr := hook.Run(cctx, packersdk.HookCleanupProvision, j.UI, comm, data); cerr != nil {
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
