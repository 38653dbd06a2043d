// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
)

// The state of a build. Each comment says who makes it.
const (
	keyInput     step.Key[string]            = "input_path" // fetch: a local file
	keySource    step.Key[string]            = "source_url" // fetch: where it was had from
	keyWorkDir   step.Key[string]            = "work_dir"   // workspace: temporary directory in output_directory
	keyWork      step.Key[string]            = "work_disk"  // copyDisk: the raw working copy
	keyTable     step.Key[parttable.Table]   = "partition_table"
	keyRoot      step.Key[rootfs.Candidate]  = "root_partition"   // findRoot
	keyGuest     step.Key[guestInfo]         = "guest"            // findRoot: what its os-release and programs say
	keyAttach    step.Key[*attachment]       = "attachment"       // attach: loop device and mounts
	keyLoans     step.Key[*loans]            = "loans"            // setUpChroot
	keyInventory step.Key[*sbom.Inventory]   = "inventory"        // takeInventory
	keyProofs    step.Key[[]catalogue.Proof] = "proofs"           // finish: of a disk that is not published
	keyResult    step.Key[*publish.Result]   = "published_images" // publishImage
	keyFinished  step.Key[bool]              = "finished"         // finish: disk and catalogue are in place
)
