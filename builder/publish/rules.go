// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Limits of the service, with their sources.
const (
	// RegisterImage: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
	minName        = 3
	maxName        = 128
	maxDescription = 255
	// Tags: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
	// RegisterImage, UefiData.
	maxUefiData = 64000
)

const nameCharacters = "letters, digits, spaces and ( ) [ ] . / - ' @ _"

func badNameCharacter(r rune) bool {
	alphanumeric := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !alphanumeric && !strings.ContainsRune("()[] ./-'@_", r)
}

// checkName holds the rules of an AMI's name. It returns what is wrong.
func checkName(name string) []string {
	var wrong []string
	if n := utf8.RuneCountInString(name); n < minName || n > maxName {
		wrong = append(wrong, fmt.Sprintf("must have %d to %d characters, has %d", minName, maxName, n))
	}
	var bad []string
	for _, r := range name {
		if s := fmt.Sprintf("%q", r); badNameCharacter(r) && !slices.Contains(bad, s) {
			bad = append(bad, s)
		}
	}
	if len(bad) > 0 {
		wrong = append(wrong, fmt.Sprintf("may have only %s, has %s", nameCharacters, strings.Join(bad, " ")))
	}
	return wrong
}

// checkDescription holds the rules of an AMI's description.
func checkDescription(text string) []string {
	var wrong []string
	if n := utf8.RuneCountInString(text); n > maxDescription {
		wrong = append(wrong, fmt.Sprintf("must have at most %d characters, has %d", maxDescription, n))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		wrong = append(wrong, fmt.Sprintf("may have only printable ASCII characters, has %q", r))
	}
	return wrong
}

// checkTags holds the rules of a set of tags, some of which are ours.
func checkTags(tags map[string]string, ours int) []string {
	var wrong []string
	if n := len(tags) + ours; n > maxTags {
		wrong = append(wrong, fmt.Sprintf("there can be at most %d tags, ours included, and there are %d", maxTags, n))
	}
	for _, k := range sortedKeys(tags) {
		switch n := utf8.RuneCountInString(k); {
		case n == 0:
			wrong = append(wrong, "a key is empty")
		case n > maxTagKey:
			wrong = append(wrong, fmt.Sprintf("a key must have at most %d characters, %q has %d", maxTagKey, clip(k, 20)+"…", n))
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			wrong = append(wrong, fmt.Sprintf("a key must not begin with aws:, which is AWS's own, %q does", k))
		}
		if n := utf8.RuneCountInString(tags[k]); n > maxTagValue {
			wrong = append(wrong, fmt.Sprintf("a value must have at most %d characters, that of %q has %d", maxTagValue, clip(k, 20), n))
		}
	}
	return wrong
}

// looksLikeRegion keeps typing errors from becoming host names.
func looksLikeRegion(region string) bool {
	return regexp.MustCompile(`\A[a-z]{2,}(-[a-z]+)+-[0-9]+\z`).MatchString(region)
}

// looksLikeDevice accepts the names that EC2 documents for root devices.
func looksLikeDevice(name string) bool {
	return regexp.MustCompile(`\A/dev/(sd[a-z][0-9]{0,2}|xvd[a-z][a-z]?|sda1)\z`).MatchString(name)
}

func bootModes() []string {
	return []string{string(types.BootModeValuesLegacyBios), string(types.BootModeValuesUefi), string(types.BootModeValuesUefiPreferred)}
}

func architectures() []string {
	return []string{string(types.ArchitectureValuesX8664), string(types.ArchitectureValuesArm64)}
}
