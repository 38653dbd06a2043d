// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
)

// key is a typed name in the state that steps share.
type key[T any] string

// The state of a build. Each comment says who makes it.
const (
	keyInput   key[string]           = "input_path" // the SDK's download step
	keyWorkDir key[string]           = "work_dir"   // workspace: temporary directory in output_directory
	keyWork    key[string]           = "work_disk"  // copyDisk: the raw working copy
	keyTable   key[parttable.Table]  = "partition_table"
	keyRoot    key[rootfs.Candidate] = "root_partition"   // findRoot
	keyGuest   key[guestInfo]        = "guest"            // findRoot: what its os-release and programs say
	keyAttach  key[*attachment]      = "attachment"       // attach: loop device and mounts
	keyLoans   key[*loans]           = "loans"            // setUpChroot
	keyResult  key[*publish.Result]  = "published_images" // publishImage
)

// get returns the value of a key, or an error when an earlier step has not made
// it.
func (k key[T]) get(state multistep.StateBag) (T, error) {
	raw, ok := state.GetOk(string(k))
	v, typed := raw.(T)
	if !ok || !typed {
		return v, fmt.Errorf("state %q is missing or has the wrong type %T", string(k), raw)
	}
	return v, nil
}

func (k key[T]) put(state multistep.StateBag, v T) { state.Put(string(k), v) }

// halt ends a step: it wraps the error, stores it, prints it, and stops the
// build.
func halt(state multistep.StateBag, ui packersdk.Ui, what string, err error) multistep.StepAction {
	if err == nil {
		err = errors.New("unknown error")
	}
	err = fmt.Errorf("%s: %w", what, err)
	state.Put("error", err)
	ui.Error(err.Error())
	return multistep.ActionHalt
}

// failed reports whether the build is being undone rather than finished.
func failed(state multistep.StateBag) bool {
	for _, k := range []string{multistep.StateCancelled, multistep.StateHalted, "error"} {
		if _, ok := state.GetOk(k); ok {
			return true
		}
	}
	return false
}
