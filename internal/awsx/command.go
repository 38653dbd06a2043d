// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx

import "strings"

// Command is what a person types to make the same call with the AWS command
// line, such as Command("ec2", "us-east-1", "delete-snapshot", "--snapshot-id", id).
func (f *Factory) Command(service, region, verb string, args ...string) string {
	words := append([]string{"aws", service, verb, "--region", f.region(region)}, args...)
	if url := f.Endpoint(region); url != "" {
		words = append(words, "--endpoint-url", url)
	}
	if f.profile != "" {
		words = append(words, "--profile", f.profile)
	}
	return Line(words)
}

// Line makes a shell command line of words.
func Line(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote makes one word of a shell command.
func quote(word string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:=,@%+", c)
	}
	if word != "" && strings.IndexFunc(word, func(c rune) bool { return !plain(c) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
