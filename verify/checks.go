// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import "slices"

// Checks returns every check that this package makes, in the order of the
// documentation. Those of the raw disk and of a booted machine are listed too;
// package raw and the boot test of builder/publish make them.
func Checks() []*Check {
	return slices.Concat(credentialChecks(), toolChecks(), identityChecks(), hostChecks(), accountChecks(), serverChecks(), diskChecks(), fileChecks(),
		bootChecks(), networkChecks(), packageChecks(), agentChecks(), liveChecks())
}

// Find returns the check of that id, nil when there is none.
func Find(id string) *Check {
	all := Checks()
	if i := slices.IndexFunc(all, func(c *Check) bool { return c.ID == id }); i >= 0 {
		return all[i]
	}
	return nil
}
