// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// flow is one run of the builder: its options and the two ways to run commands.
type flow struct {
	config *Config
	user   run.Runner // as the user who runs Packer
	root   wrapper    // as root
	// started is when the build began.
	started time.Time
}

// steps is the whole build, in order. Every step undoes what it made when the
// build ends.
func (f *flow) steps() []multistep.Step {
	return []multistep.Step{
		step.Act("check this machine", f.checkHost),
		step.Act("check the target regions", f.checkRegions),
		step.Act("get the disk", f.fetch),
		step.Act("prepare output_directory", f.workspace),
		step.Act("copy the disk", f.copyDisk),
		step.Act("find the root file system", f.findRoot),
		step.Act("mount the disk", f.attach),
		step.Act("set up the chroot", f.setUpChroot),
		step.Act("provision", f.provision),
		step.Act("unmount the disk", f.detach),
		step.Act("write the file system anew", f.reproduce),
		step.Act("search the disk for secrets", f.inspect),
		step.Act("publish", f.publishImage),
		step.Act("move the disk into place", f.finish),
	}
}
