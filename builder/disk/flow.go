// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	"github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"

	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// flow is one run of the builder: its options and the two ways to run commands.
type flow struct {
	config *Config
	user   run.Runner // as the user who runs Packer
	root   wrapper    // as root
}

// steps is the whole build, in order. Every step undoes what it made when the
// build ends.
func (f *flow) steps() []multistep.Step {
	return []multistep.Step{
		act("check this machine", f.checkHost),
		f.download(),
		act("prepare output_directory", f.workspace),
		act("copy the disk", f.copyDisk),
		act("find the root file system", f.findRoot),
		act("mount the disk", f.attach),
		act("set up the chroot", f.setUpChroot),
		act("provision", f.provision),
		act("unmount the disk", f.detach),
		act("publish", f.publishImage),
		act("move the disk into place", f.finish),
	}
}

// download fetches the input, or uses a local file in place, and checks its
// checksum. A broken transfer resumes from Packer's cache.
func (f *flow) download() multistep.Step {
	return &commonsteps.StepDownload{
		Checksum:    f.config.ISOChecksum,
		Description: "disk",
		Extension:   f.config.TargetExtension,
		ResultKey:   string(keyInput),
		TargetPath:  f.config.TargetPath,
		Url:         f.config.ISOUrls,
	}
}
