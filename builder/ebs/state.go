// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// The state of a build. Each comment says who makes it.
const (
	keySource   step.Key[types.Image]     = "source_image"     // findSource
	keyData     step.Key[map[string]any]  = "build_data"       // findSource; launch adds InstanceID
	keyPlace    step.Key[place]           = "place"            // findPlace
	keyKeyName  step.Key[string]          = "key_name"         // makeKey
	keyGroups   step.Key[[]string]        = "security_groups"  // openGroup
	keyProfile  step.Key[string]          = "instance_profile" // makeProfile
	keyInstance step.Key[string]          = "instance_id"      // launch; the SDK reads it, too
	keyTunnel   step.Key[*tunnel]         = "tunnel"           // openTunnel, with ssh_interface session_manager
	keyResult   step.Key[*publish.Result] = "published_images" // makeImage
)
