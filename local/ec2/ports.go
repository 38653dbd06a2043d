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
	// Supports says why an instance of this architecture and boot mode cannot
	// be booted here, "" when it can.
	Supports(architecture, bootMode string) string
}
