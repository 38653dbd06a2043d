// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

// Fleet brings instances into the state that their record asks for. All calls
// but Console return at once; the record tells how it went. Satisfied by the
// fleet of package local.
type Fleet interface {
	// Launch boots an instance whose record is pending.
	Launch(region, id string)
	// Stop presses the power button of a stopping instance; force pulls the plug.
	Stop(region, id string, force bool)
	// Terminate ends a shutting-down instance and removes its disk.
	Terminate(region, id string)
	// Reboot restarts a running instance.
	Reboot(region, id string)
	// Console returns the serial console log.
	Console(region, id string) ([]byte, error)
	// Snapshot fills the pending snapshots of a job; their records, and that of
	// the image, tell how it went.
	Snapshot(region string, job SnapshotJob)
	// Plug gives a running machine a volume that was attached to its instance.
	// It waits.
	Plug(region, id, volume string) error
	// Resize tells a running machine that a volume has grown. It waits.
	Resize(region, id, volume string) error
	// Unplug asks the guest to let go of a volume and detaches it then. With
	// force it is detached all the same.
	Unplug(region, id, volume string, force bool)
	// Supports says why an instance of this architecture and boot mode cannot
	// be booted here, "" when it can.
	Supports(architecture, bootMode string) string
}

// SnapshotJob says which snapshots are to be made of which volumes.
type SnapshotJob struct {
	// InstanceID has the volumes; empty for a volume that is not attached.
	InstanceID string
	// Reboot shuts a running guest down before and boots it again after. Else it
	// only stands still meanwhile.
	Reboot bool
	// Volumes are by the id of their pending snapshot.
	Volumes map[string]string
	// ImageID is the image that waits for the snapshots, empty for none.
	ImageID string
}
