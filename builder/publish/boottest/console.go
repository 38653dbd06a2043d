// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"regexp"
	"strings"
)

// sign is a line of a console that says that the boot has failed.
type sign struct {
	text *regexp.Regexp
	what string
}

// signs of a boot that will never come to its end. Each is the line of the
// program that gives up, and none is printed by a boot that works.
var signs = []sign{
	{regexp.MustCompile(`Kernel panic - not syncing`), "the kernel panicked"},
	{regexp.MustCompile(`No working init found`), "the kernel finds no init"},
	{regexp.MustCompile(`You are in (emergency|rescue) mode|Entering emergency mode|Cannot open access to console, the root account is locked`), "the machine went into emergency mode"},
	{regexp.MustCompile(`ALERT! .*does not exist|Dropping to a shell!|^\(initramfs\)`), "the initramfs does not find the root file system"},
	{regexp.MustCompile(`^(grub|grub rescue)>`), "the boot loader GRUB is in its own shell"},
	{regexp.MustCompile(`No bootable device|Boot failed: not a bootable disk`), "the firmware finds nothing to boot"},
	{regexp.MustCompile(`Freezing execution|Caught <[A-Z]+>, (dumped core|from our own process)`), "init has crashed"},
	{regexp.MustCompile(`Unable to mount root fs`), "the kernel cannot mount the root file system"},
}

// control are the characters and sequences that terminals act on.
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|[\x00-\x08\x0b-\x1f\x7f]`)

// plain takes out of a console what is not text.
func plain(console string) string {
	console = strings.ReplaceAll(console, "\r\n", "\n")
	return control.ReplaceAllString(strings.ReplaceAll(console, "\r", "\n"), "")
}

// broken looks for a sign that the boot has failed, and returns what it means
// with the line.
func broken(console string) string {
	for line := range strings.Lines(plain(console)) {
		line = strings.TrimSpace(line)
		for _, s := range signs {
			if s.text.MatchString(line) {
				return s.what + ": " + clip(line, 200)
			}
		}
	}
	return ""
}

// prompt is a console that asks for a login.
var prompt = regexp.MustCompile(`(?m)(^|\s)login: ?$`)

// asksForLogin reports whether a console has come to a login.
func asksForLogin(console string) bool { return prompt.MatchString(plain(console)) }

// mostConsole is how many lines of a console an error shows.
const mostConsole = 30

// end is the end of a console, for an error.
func end(console string) string {
	var lines []string
	for line := range strings.Lines(plain(console)) {
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, "  | "+clip(line, 200))
		}
	}
	return strings.Join(lines[max(0, len(lines)-mostConsole):], "\n")
}

// clip shortens a text to so many characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
