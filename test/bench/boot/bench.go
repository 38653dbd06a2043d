// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
)

// cost is what a few processes took, one after another.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // KiB, of the largest
	requests  int64
}

func (c cost) plus(d cost) cost {
	return cost{c.wall + d.wall, c.cpu + d.cpu, max(c.memory, d.memory), c.requests + d.requests}
}

type bench struct {
	options

	work     string
	s        *service
	problems []error
}

func newBench(o options, work string, s *service) (*bench, error) {
	var err1, err2 error
	o.bootstrap, err1 = filepath.Abs(o.bootstrap)
	o.floor, err2 = filepath.Abs(o.floor)
	return &bench{options: o, work: work, s: s}, errors.Join(err1, err2)
}

// boot makes a root of a machine that never booted; the same one is used again
// for later boots.
func (b *bench) root(n int) (string, error) {
	root := filepath.Join(b.work, fmt.Sprintf("root%d", n))
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	files := map[string]string{
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n", "etc/debian_version": "12.8\n", "etc/hosts": "127.0.0.1 localhost\n",
		"etc/rightscale.d/cloud": "ec2\n", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "sbin/init": "", "etc/init.d/README": "",
		"root/.profile": "", "run/.keep": "", "var/lib/.keep": "", "var/spool/.keep": "",
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return root, enableImage(root)
}

// imageHook is the link that enables stage 1 under systemd, as "bootstrap
// register --image" makes it.
const imageHook = "etc/systemd/system/multi-user.target.wants/" + hooks.Image + ".service"

func enableImage(root string) error {
	path := filepath.Join(root, imageHook)
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("/etc/systemd/system/"+hooks.Image+".service", path))
}

// newBoot is what a reboot does: /run is empty and the kernel has a new id.
func newBoot(root, id string) error {
	path := filepath.Join(root, "proc/sys/kernel/random/boot_id")
	return errors.Join(os.RemoveAll(filepath.Join(root, "run")), os.MkdirAll(filepath.Join(root, "run"), 0o755),
		os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(id+"\n"), 0o600))
}

func (b *bench) process(ctx context.Context, name string, args ...string) (cost, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), cloud.EndpointEnv+"="+b.s.url, "LOG_LEVEL=error")
	before, started := b.s.requests.Load(), time.Now()
	out, err := cmd.CombinedOutput()
	c := cost{wall: time.Since(started), requests: b.s.requests.Load() - before}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return c, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-12):], "\n"))
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if ok {
		c.memory = usage.Maxrss
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return c, nil
}

func (b *bench) stages(ctx context.Context, root string, names ...string) (cost, error) {
	var sum cost
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(root, hooks.DormantMark)); n == "rightimage" && err == nil {
			continue // as the condition of rightimage.service has it
		}
		c, err := b.process(ctx, b.bootstrap, "--root", root, n)
		if err != nil {
			return sum, err
		}
		sum = sum.plus(c)
	}
	return sum, nil
}

// row is one line of the table: how it is run, n times.
type row struct {
	name string
	once func(ctx context.Context, n int) (cost, error)
}

func (b *bench) rows() []row {
	work := []string{"rightboot", "rightscale"}
	first := func(names []string, data string) func(context.Context, int) (cost, error) {
		return func(ctx context.Context, n int) (cost, error) {
			b.s.userData.Store(&data)
			root, err := b.root(n)
			if err == nil {
				err = newBoot(root, fmt.Sprintf("first-%d", n))
			}
			if err != nil {
				return cost{}, err
			}
			return b.stages(ctx, root, names...)
		}
	}
	later := func(names []string) func(context.Context, int) (cost, error) {
		return func(ctx context.Context, n int) (cost, error) {
			root := filepath.Join(b.work, fmt.Sprintf("root%d", n))
			// A first boot that has installed RightLink takes stage 1 out.
			err := os.Remove(filepath.Join(root, imageHook))
			if errors.Is(err, os.ErrNotExist) {
				err = nil
			}
			if err := errors.Join(err, newBoot(root, fmt.Sprintf("later-%d", n))); err != nil {
				return cost{}, err
			}
			return b.stages(ctx, root, names...)
		}
	}
	return []row{
		{"floor", func(ctx context.Context, n int) (cost, error) {
			return b.process(ctx, b.floor, b.s.url, filepath.Join(b.work, fmt.Sprintf("floor%d.json", n)))
		}},
		{"first boot: rightboot, rightscale", first(work, settings)},
		{"first boot: with early and key", first(append([]string{"early", "key"}, work...), settings)},
		{"later boot: early, key, rightboot, rightscale", later(append([]string{"early", "key"}, work...))},
		{"dormant boot: early, key, rightimage", first([]string{"early", "key", "rightimage"}, "")},
	}
}

func (b *bench) table(ctx context.Context) error {
	how := "connections are kept"
	if b.s.closes {
		how = "the service closes each connection"
	}
	fmt.Printf("\n%d leaves, %d folders, %s per request, %s; median of %d\n", b.s.leaves, b.s.folders, b.delay, how, b.runs)
	fmt.Printf("%-48s %9s %9s %9s %9s\n", "", "wall", "CPU", "memory", "requests")
	medians := map[string]cost{}
	all := map[string][]cost{}
	for n := range b.runs { // interleaved, so that a busy machine is fair to all
		for _, r := range b.rows() {
			c, err := r.once(ctx, n)
			if err != nil {
				return err
			}
			all[r.name] = append(all[r.name], c)
		}
	}
	for _, r := range b.rows() {
		m := median(all[r.name])
		medians[r.name] = m
		b.print(r.name, m)
	}
	b.limits(medians)
	if !b.s.closes && b.cloudInit {
		if err := b.cloudInitRows(ctx); err != nil {
			fmt.Println("cloud-init:", err)
		}
	}
	if b.check {
		return errors.Join(b.problems...)
	}
	return nil
}

func (b *bench) print(name string, c cost) {
	fmt.Printf("%-48s %6.1f ms %6.1f ms %6.1f MB %9d\n", name, ms(c.wall), ms(c.cpu), float64(c.memory)/1024, c.requests)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(list []cost) cost {
	pick := func(value func(cost) int64) int64 {
		var values []int64
		for _, c := range list {
			values = append(values, value(c))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return cost{
		wall: time.Duration(pick(func(c cost) int64 { return int64(c.wall) })), cpu: time.Duration(pick(func(c cost) int64 { return int64(c.cpu) })),
		memory: pick(func(c cost) int64 { return c.memory }), requests: pick(func(c cost) int64 { return c.requests }),
	}
}

// limits are what the project promises of a boot.
func (b *bench) limits(m map[string]cost) {
	rows := b.rows()
	least, first, all, later, dormant := m[rows[0].name], m[rows[1].name], m[rows[2].name], m[rows[3].name], m[rows[4].name]
	for _, l := range []struct {
		name      string
		is, limit float64
	}{
		{"CPU of a first boot, in floors", float64(first.cpu) / float64(least.cpu), 2.5},
		{"wall time of a first boot, in floors", float64(first.wall) / float64(least.wall), 2.5},
		{"requests over leaves and folders", float64(all.requests - int64(b.s.leaves) - int64(b.s.folders)), 10},
		{"requests of a later boot", float64(later.requests), 4},
		{"memory, MB", float64(max(all.memory, later.memory, dormant.memory)) / 1024, 16},
		{"CPU of a dormant boot, ms", ms(dormant.cpu), 50},
	} {
		word := "ok"
		if l.is > l.limit {
			word = "TOO MUCH"
			b.problems = append(b.problems, fmt.Errorf("%s: %.2f, limit %.2f", l.name, l.is, l.limit))
		}
		fmt.Printf("  %-46s %8.2f  limit %5.1f  %s\n", l.name, l.is, l.limit, word)
	}
}
