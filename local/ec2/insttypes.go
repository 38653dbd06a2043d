// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import "strings"

// instanceType is what a launch needs to know of a type.
type instanceType struct {
	vcpus        int
	architecture string
	needsENA     bool
}

// lookupType knows the general families. The local machine's real size is set
// when the local cloud is started, not by the type.
func lookupType(name string) (instanceType, bool) {
	// The newer families (Nitro) have only ENA for a network card.
	families := map[string]instanceType{
		"m1": {architecture: "x86_64"}, "t1": {architecture: "x86_64"}, "m3": {architecture: "x86_64"},
		"t2": {architecture: "x86_64"}, "m4": {architecture: "x86_64"}, "c4": {architecture: "x86_64"}, "r4": {architecture: "x86_64"},
		"t3": {architecture: "x86_64", needsENA: true}, "t3a": {architecture: "x86_64", needsENA: true}, "t4g": {architecture: "arm64", needsENA: true},
	}
	for _, gen := range []string{"5", "5a", "6i", "6a", "7i", "7a", "8i", "8a"} {
		for _, kind := range []string{"m", "c", "r"} {
			families[kind+gen] = instanceType{architecture: "x86_64", needsENA: true}
		}
	}
	for _, gen := range []string{"6g", "7g", "8g"} {
		for _, kind := range []string{"m", "c", "r"} {
			families[kind+gen] = instanceType{architecture: "arm64", needsENA: true}
		}
	}
	sizes := map[string]int{
		"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64,
	}
	family, size, _ := strings.Cut(name, ".")
	t, ok := families[family]
	vcpus, sized := sizes[size]
	t.vcpus = vcpus
	// Only burstable and the oldest types come smaller than large.
	small := vcpus == 2 && size != "large" && !strings.HasPrefix(family, "t") && family != "m1" && family != "m3"
	return t, ok && sized && !small
}
