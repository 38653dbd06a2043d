// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package version holds the one version that every binary, package and tag of
// this project carries. It imports nothing, so that the agents can use it
// without linking the Packer SDK.
package version

const (
	// Version is the semantic version of the next or current release.
	Version = "0.1.0"

	// Prerelease marks a build between releases; empty for a release.
	Prerelease = "dev"
)

// String returns the full version, such as "0.1.0-dev" or "0.1.0".
func String() string {
	if Prerelease == "" {
		return Version
	}
	return Version + "-" + Prerelease
}

// Package returns the version that agent packages carry. RS_version in
// user-data may only hold digits, lower-case letters, dots, dashes and
// underscores, and a package's file name repeats it, so the prerelease mark is
// left out.
func Package() string { return Version }
