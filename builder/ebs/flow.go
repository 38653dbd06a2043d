// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// flow is one run of the builder: its options, the clients, and where it owes
// the undo of what it makes.
type flow struct {
	config *Config
	// comm is the run's own copy: connecting writes into it.
	comm communicator.Config
	// life ends with the build: for what outlives a step.
	life    context.Context
	factory *awsx.Factory
	site    *site
	// connect connects to the machine; tests put a fake in its place.
	connect multistep.Step

	ec2        control
	iam        access
	parameters parameterReader
	sessions   sessions
	keys       keyPusher
	echo       *http.Client
	pause      time.Duration // between two sessions of a tunnel

	// leftover lists what could not be removed.
	leftover error
}

// steps is the whole build, in order. What a step makes in the cloud it owes in
// the ledger, which is settled when everything else has ended, whatever the end
// is.
func (f *flow) steps() []multistep.Step {
	return []multistep.Step{
		&settle{f},
		step.Act("check the target regions", f.precheck),
		step.Act("find the source AMI", f.findSource),
		step.Act("find the network", f.findPlace),
		step.Act("check the instance type", f.checkTypes),
		step.Act("make a key", f.makeKey),
		step.Act("open a security group", f.openGroup),
		step.Act("make an instance profile", f.makeProfile),
		step.Act("launch the build machine", f.launch),
		step.Act("open a tunnel", f.openTunnel),
		f.connect,
		step.Act("provision", f.provision),
		step.Act("forget the key", f.forgetKey),
		step.Act("stop the build machine", f.stop),
		step.Act("make the image", f.makeImage),
	}
}
