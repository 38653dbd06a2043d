// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// guestScript is what the machine is asked.
//
//go:embed guest.sh
var guestScript string

// facts are what the machine says of itself, and when it said so.
type facts struct {
	asked             time.Time
	bootID, machineID string
	hostname, state   string
	booted, clock     time.Time
	files             map[string]time.Time // that every machine makes for itself
	failed            []string             // units
	twice             []string             // mount points
	root              *rootDevice          // nil when it is no plain partition
	listeners         []int                // TCP ports that others reach
	libraries         []string             // what ldconfig complains about
	modules           []string             // what modprobe complains about
	stages            []stage
	bootstrap         bool
}

// rootDevice is the partition of the root file system, in bytes.
type rootDevice struct{ start, size, disk, fs int64 }

// stage is a line of "bootstrap status".
type stage struct {
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail"`
}

// readFacts reads the answer of the script. A machine may say anything; what
// cannot be read is an error, and never more.
func readFacts(answer string, asked time.Time) (facts, error) {
	s := sections(answer)
	f := facts{asked: asked, files: map[string]time.Time{}}
	if _, whole := s["end"]; !whole {
		return f, errors.New("its answer is not whole: " + clip(strings.Join(strings.Fields(answer), " "), 200))
	}
	f.bootID, f.machineID, f.hostname, f.state = first(s["boot-id"]), first(s["machine-id"]), first(s["hostname"]), first(s["state"])
	var err error
	if f.booted, err = seconds(first(s["booted"])); err != nil {
		return f, fmt.Errorf("when it booted: %w", err)
	}
	if f.clock, err = seconds(first(s["clock"])); err != nil {
		return f, fmt.Errorf("its clock: %w", err)
	}
	for _, l := range s["own-files"] {
		when, name, _ := strings.Cut(l, " ")
		if made, err := seconds(when); err == nil {
			f.files[name] = made
		}
	}
	for _, l := range s["failed"] {
		if words := strings.Fields(strings.TrimLeft(l, "●* ")); len(words) > 0 {
			f.failed = append(f.failed, words[0])
		}
	}
	f.twice = mountedTwice(s["mounts"])
	f.root = readRoot(first(s["root"]))
	f.listeners = listening(s["listeners"])
	f.libraries, f.modules = s["libraries"], s["modules"]
	if text := strings.Join(s["bootstrap"], "\n"); text != "" {
		f.bootstrap = true
		var status struct {
			Stages []stage `json:"stages"`
		}
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return f, fmt.Errorf("bootstrap status: %w", err)
		}
		f.stages = status.Stages
	}
	return f, nil
}

// sections divides the answer. Empty lines are left out.
func sections(answer string) map[string][]string {
	out := map[string][]string{}
	name := ""
	for line := range strings.Lines(answer) {
		line = strings.TrimRight(line, "\r\n")
		if title, ok := strings.CutPrefix(line, "== "); ok {
			name = title
			out[name] = nil
			continue
		}
		if name != "" && strings.TrimSpace(line) != "" {
			out[name] = append(out[name], line)
		}
	}
	return out
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[0])
}

func seconds(s string) (time.Time, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time", clip(s, 40))
	}
	return time.Unix(n, 0), nil
}

// mountedTwice are the directories on which one file system is mounted twice:
// what lies over another one on purpose is of another kind.
func mountedTwice(mounts []string) []string {
	seen := map[string]int{}
	var out []string
	for _, l := range mounts {
		w := strings.Fields(l)
		if len(w) < 3 || w[2] == "autofs" {
			continue
		}
		if seen[w[0]+" "+w[1]]++; seen[w[0]+" "+w[1]] == 2 {
			out = append(out, w[1])
		}
	}
	return out
}

// sector is the unit of /sys/class/block.
const sector = 512

// readRoot reads start and size of a partition, the size of its disk, and that
// of the file system in KiB.
func readRoot(line string) *rootDevice {
	var n [4]int64
	w := strings.Fields(line)
	if len(w) != len(n) {
		return nil
	}
	for i := range n {
		v, err := strconv.ParseInt(w[i], 10, 64)
		if err != nil || v < 0 || v > 1<<50 {
			return nil
		}
		n[i] = v
	}
	return &rootDevice{n[0] * sector, n[1] * sector, n[2] * sector, n[3] << 10}
}

// tcpListen is the kernel's number of the state LISTEN.
const tcpListen = "0A"

// listening reads /proc/net/tcp and tcp6: addresses are words of four bytes in
// the order of the machine, which has its least byte first.
func listening(lines []string) []int {
	var ports []int
	for _, l := range lines {
		w := strings.Fields(l)
		if len(w) < 4 || w[3] != tcpListen {
			continue
		}
		addr, port, ok := strings.Cut(w[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if !ok || err != nil || loopback(addr) || slices.Contains(ports, int(n)) {
			continue
		}
		ports = append(ports, int(n))
	}
	slices.Sort(ports)
	return ports
}

// loopback reports whether the kernel's form of an address is one of this
// machine alone.
func loopback(addr string) bool {
	switch len(addr) {
	case 8:
		return strings.HasSuffix(addr, "7F")
	case 32:
		mapped := strings.HasPrefix(addr, "0000000000000000FFFF0000") && strings.HasSuffix(addr, "7F")
		return mapped || addr == "00000000000000000000000001000000"
	}
	return false
}
