// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storetest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stat is what Linux tells of a process.
type stat struct {
	pid, parent   int
	own, children time.Duration // processor time; that of children that have ended
}

// ticks is USER_HZ, which Linux has fixed for programs.
const ticks = 100

// ProcessTime is the processor time of a process and of its children that have
// ended; 0 for one that is gone.
func ProcessTime(pid int) time.Duration {
	for _, s := range stats() {
		if s.pid == pid {
			return s.own + s.children
		}
	}
	return 0
}

// stats reads all processes; those that end meanwhile are left out.
func stats() (list []stat) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		head, rest, _ := strings.Cut(string(raw), " (")
		rest = rest[strings.LastIndex(rest, ")")+1:] // the name may hold anything
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue
		}
		number := func(text string) int {
			n, _ := strconv.Atoi(text) // the kernel writes numbers
			return n
		}
		tick := func(i int) time.Duration { return time.Duration(number(fields[i])) * time.Second / ticks }
		list = append(list, stat{pid: number(head), parent: number(fields[1]), own: tick(11) + tick(12), children: tick(13) + tick(14)})
	}
	return list
}
