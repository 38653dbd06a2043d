// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package version holds the one version that every binary, package and tag of
// this project carries: the file VERSION, which the release tools read too. It
// imports nothing of ours, so that the agents can use it without linking the
// Packer SDK.
package version

import (
	_ "embed"
	"strings"
)

// text is the version of the next or current release, such as "0.1.0", with a
// prerelease mark between releases, such as "0.1.0-dev".
//
//go:embed VERSION
var text string

// String returns the full version, such as "0.1.0-dev" or "0.1.0".
func String() string { return strings.TrimSpace(text) }

// Prerelease returns the mark of a build between releases, such as "dev"; empty
// for a release.
func Prerelease() string {
	_, mark, _ := strings.Cut(String(), "-")
	return mark
}

// Package returns the version that agent packages carry. RS_version in
// user-data may only hold digits, lower-case letters, dots, dashes and
// underscores, and a package's file name repeats it, so the prerelease mark is
// left out.
func Package() string {
	number, _, _ := strings.Cut(String(), "-")
	return number
}
