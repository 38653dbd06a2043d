// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"time"
)

// flagDuration is a duration of an option that must be positive.
type flagDuration struct{ d time.Duration }

func (f *flagDuration) String() string { return f.d.String() }

func (f *flagDuration) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return fmt.Errorf("want a positive time such as 90s or 24h")
	}
	f.d = d
	return nil
}
