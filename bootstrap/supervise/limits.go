// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrGivenUp means that the command failed too often in a row. The next boot,
// or "bootstrap rightlink start", tries again.
var ErrGivenUp = errors.New("it failed too often, and is not started again")

// Limits of the command. The agent takes some 20 MB, so what needs a quarter of
// a gigabyte has gone wrong.
const (
	memoryLimit   = 256 << 20
	watchdogLimit = 3 * time.Minute
	maxFailures   = 20 // over an hour, with the pauses between them
	checkEvery    = 10 * time.Second
)

// guard watches one run of the command: its memory, and that it speaks up as it
// would to systemd.
type guard struct {
	o    Options
	conn *net.UnixConn // nil: it cannot speak up
	path string
}

// newGuard opens the socket. Without it (the path may be too long for one) the
// memory is watched all the same.
func newGuard(o Options) *guard {
	g := &guard{o: o, path: filepath.Join(RunDir(o.Root), "notify")}
	_ = os.Remove(g.path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: g.path, Net: "unixgram"})
	if err != nil {
		o.Log.Debug("no watchdog", "error", err)
		return g
	}
	g.conn = conn
	return g
}

func (g *guard) close() {
	if g.conn != nil {
		_ = g.conn.Close()
		_ = os.Remove(g.path)
	}
}

// env is what systemd would set.
func (g *guard) env() []string {
	if g.conn == nil {
		return nil
	}
	return []string{"NOTIFY_SOCKET=" + g.path, "WATCHDOG_USEC=" + strconv.FormatInt(g.o.Watchdog.Microseconds(), 10)}
}

// watch ends the process when it breaks a limit, until done is closed. It is
// aborted, not asked to end: an agent that is asked takes itself out of service.
func (g *guard) watch(process *os.Process, done <-chan struct{}) {
	heard := make(chan struct{}, 1)
	if g.conn != nil {
		go g.listen(heard)
	}
	tick := time.NewTicker(g.o.CheckEvery)
	defer tick.Stop()
	var last time.Time // zero: it never spoke up, and need not
	for {
		select {
		case <-done:
			return
		case <-heard:
			last = time.Now()
			continue
		case <-tick.C:
		}
		problem := ""
		if used := residentMemory(process.Pid); used > g.o.Memory {
			problem = fmt.Sprintf("it uses %d MB of memory, more than %d", used>>20, g.o.Memory>>20)
		}
		if silent := time.Since(last); !last.IsZero() && silent > g.o.Watchdog {
			problem = fmt.Sprintf("it is silent for %s", silent.Round(time.Second))
		}
		if problem != "" {
			g.o.Log.Error("command is aborted", "pid", process.Pid, "reason", problem)
			_ = process.Signal(syscall.SIGABRT)
			select { // one that cannot even die is killed
			case <-done:
			case <-time.After(g.o.CheckEvery):
				_ = process.Kill()
			}
			return
		}
	}
}

func (g *guard) listen(heard chan<- struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := g.conn.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("WATCHDOG=1")) {
			select {
			case heard <- struct{}{}:
			default:
			}
		}
	}
}

// residentMemory is what a process holds in memory, in bytes; 0 when unknown.
func residentMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}
