// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

// Reporter is told what happens, line by line. packersdk.Ui fits.
type Reporter interface {
	Say(message string)
	Error(message string)
}
