// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package sourcedate reads SOURCE_DATE_EPOCH, the time that reproducible builds
// have: https://reproducible-builds.org/specs/source-date-epoch/
package sourcedate

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// Variable is the name of the environment variable.
const Variable = "SOURCE_DATE_EPOCH"

// latest is the last second that ext4 has with small inodes, and most other
// formats: 2038-01-19.
const latest = 1<<31 - 1

// Env returns the time; the zero time when the variable is not set.
func Env() (time.Time, error) { return Parse(os.Getenv(Variable)) }

// Parse reads a value of the variable.
func Parse(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > latest {
		return time.Time{}, fmt.Errorf("%s: %q is no number of seconds since 1970, such as `git log -1 --format=%%ct` prints", Variable, text)
	}
	return time.Unix(n, 0).UTC(), nil
}
