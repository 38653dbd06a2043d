// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"time"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
)

// liveEvery is the time between two changes of a line that changes.
const liveEvery = time.Second

// Live is a Reporter that may have a line that changes, such as a terminal. Other
// ones get a line every upload.DefaultReportEvery.
type Live interface {
	Reporter
	// Live reports whether there is such a line now.
	Live() bool
	// Progress shows how far the upload to a region is.
	Progress(region string, now upload.Progress)
}

// progress returns how the progress of the upload to a region is told, and how
// often; 0 stands for the uploader's default.
func (p *Publisher) progress(region string) (tell func(upload.Progress), every time.Duration) {
	if ui, ok := p.ui.(Live); ok && ui.Live() {
		return func(now upload.Progress) { ui.Progress(region, now) }, liveEvery
	}
	return func(now upload.Progress) { p.say("%s: %s", region, now) }, 0
}
