// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"

	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// provision runs the template's provisioners in the chroot. When one fails, the
// error-cleanup-provisioner still finds the disk mounted.
func (f *flow) provision(ctx context.Context, j *step.Job) error {
	a, err := keyAttach.Get(j.State)
	if err != nil {
		return err
	}
	comm := newCommunicator(ctx, a.dir, f.root)
	defer comm.close(step.CancelGrace)
	// Behind sudo only root can end the commands of a cancelled build.
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := short(ctx)
		defer cancel()
		_ = killInside(ctx, f.root, a.dir) // unmounting tries again and reports
	})
	defer stop()
	return j.Provision(ctx, comm)
}
