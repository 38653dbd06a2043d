// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/rightimage/packer-plugin-rightimage/verify"
)

const (
	// clockSlack is how wrong a clock may be, the time of the question included.
	clockSlack = time.Minute
	// bootSlack is how long before the kernel's idea of its start a file may have
	// been written: the clock may have been set in between.
	bootSlack = 5 * time.Minute
	// notGrown is how much of a disk may be left: less than the GiB that is added.
	notGrown = 256 << 20
	// overhead is the part of a partition that a file system keeps for itself at most.
	overhead = 10 // percent
)

// judge makes findings of what the machine says.
func (t *Test) judge(f facts) {
	t.judgeIdentity(f)
	t.judgeBoot(f)
	if r := f.root; r != nil {
		switch {
		case r.disk-r.start-r.size > notGrown:
			t.tell("live-root-grow", "%d MiB of the volume lie behind the root partition, unused", (r.disk-r.start-r.size)>>20)
		case r.fs < r.size/100*(100-overhead):
			t.tell("live-root-grow", "the root file system has %d MiB of its partition's %d", r.fs>>20, r.size>>20)
		}
	}
	for _, dir := range f.twice {
		t.tell("live-mounts", "%s", dir)
	}
	if name := strings.ToLower(f.hostname); name == "" || name == "localhost" || name == "(none)" || strings.HasPrefix(name, "localhost.") {
		t.tell("live-hostname", "the machine is called %q", clip(f.hostname, 60))
	}
	if off := f.clock.Sub(f.asked).Abs(); off > clockSlack {
		t.tell("live-clock", "the clock is off by %s", off.Round(time.Second))
	}
	for _, port := range f.listeners {
		if port != t.SSHPort {
			t.tell("live-services", "something listens on TCP port %d", port)
		}
	}
	for _, l := range slices.Concat(f.libraries, f.modules) {
		t.tell("live-libraries", "%s", clip(l, 200))
	}
}

// judgeIdentity looks whether the machine is its own.
func (t *Test) judgeIdentity(f facts) {
	if f.machineID == "uninitialized" {
		t.tell("live-identity", "the machine id is still uninitialized")
	}
	for _, name := range slices.Sorted(maps.Keys(f.files)) {
		if !strings.HasPrefix(name, "/etc/ssh/") && f.machineID == "" {
			continue // an empty file is no identity
		}
		if made := f.files[name]; made.Before(f.booted.Add(-bootSlack)) {
			t.tell("live-identity", "%s was written %s before the machine booted: it comes from the image", name, f.booted.Sub(made).Round(time.Second))
		}
	}
}

// judgeBoot looks how the boot has ended.
func (t *Test) judgeBoot(f facts) {
	for _, unit := range f.failed {
		t.tell("live-units", "%s has failed", clip(unit, 100))
	}
	if f.state == "starting" || f.state == "initializing" {
		t.tell("live-units", "the boot has not come to its end (systemctl is-system-running: %s)", f.state)
	}
	if f.state == "maintenance" {
		t.tell("live-units", "the machine is in emergency or rescue mode")
	}
	ran := false
	for _, s := range f.stages {
		ran = ran || s.Name == "rightimage" && s.Result != "running"
		if s.Result == "failed" {
			t.tell("live-bootstrap", "stage %s failed: %s", clip(s.Name, 40), clip(s.Detail, 200))
		}
	}
	if f.bootstrap && !ran {
		t.tell("live-bootstrap", "stage rightimage has not come to its end in this boot")
	}
}

// judgeReboot compares the machine with what it was before.
func (t *Test) judgeReboot(f facts) {
	if t.shell.HostKey() != t.hostKey {
		t.tell("live-reboot", "the host key was %s, and is %s", t.hostKey, t.shell.HostKey())
	}
	if f.machineID != t.first.machineID {
		t.tell("live-reboot", "the machine id is another one")
	}
	for _, unit := range f.failed {
		if !slices.Contains(t.first.failed, unit) {
			t.tell("live-units", "%s has failed after the reboot", clip(unit, 100))
		}
	}
	for _, s := range f.stages {
		if s.Result == "failed" {
			t.tell("live-bootstrap", "stage %s failed after the reboot: %s", clip(s.Name, 40), clip(s.Detail, 200))
		}
	}
}

// tell adds a finding.
func (t *Test) tell(id, format string, args ...any) {
	c := verify.Find(id)
	severity := c.Severity
	if c.Public && !t.Public && severity > verify.Info {
		severity--
	}
	t.report.Findings = append(t.report.Findings, verify.Finding{
		Check: id, Severity: severity, Evidence: plain(fmt.Sprintf(format, args...)), Remedy: c.Remedy,
	})
}

// mostConsoleTime bounds the last question to a service that may not answer.
const mostConsoleTime = 20 * time.Second

// verdict tells what was found, and fails on a blocker that nobody has waived.
func (t *Test) verdict(ctx context.Context) error {
	t.report.Sort()
	t.report.Waive(t.Waivers, time.Now())
	for _, f := range t.report.Findings {
		if f.Waived != "" {
			t.Say("%s: boot test: %s; accepted: %s", t.Region, line(f), f.Waived)
		} else if f.Severity < verify.Blocker {
			t.Say("%s: boot test: %s", t.Region, line(f))
		}
	}
	blockers := t.report.Open(verify.Blocker)
	if len(blockers) == 0 {
		t.Say("%s: boot test: passed", t.Region)
		return nil
	}
	if late(ctx) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), mostConsoleTime)
		defer cancel()
	}
	failed := &FailedError{Image: aws.ToString(t.Image.ImageId), Region: t.Region, Instance: t.instance, Findings: blockers}
	if console, err := t.console(ctx); err == nil {
		failed.Console = end(console)
	}
	return failed
}

func line(f verify.Finding) string {
	text := fmt.Sprintf("%s: %s: %s", f.Severity, f.Check, f.Evidence)
	if f.Note != "" {
		text += " (" + f.Note + ")"
	}
	return text
}

// FailedError says why an image is not fit to be shared.
type FailedError struct {
	// Image, Region and Instance say what was tested.
	Image, Region, Instance string
	// Findings are the blockers.
	Findings []verify.Finding
	// Console is the end of what the machine has printed.
	Console string
}

func (e *FailedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "boot test: image %s in %s must not be shared:", e.Image, e.Region)
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n  %s; %s", line(f), f.Remedy)
	}
	b.WriteString("\nwaivers_file accepts a finding with a reason; boot_test { enabled = false } leaves the test out")
	if e.Console == "" {
		fmt.Fprintf(&b, "\nthe console of %s is empty", e.Instance)
	} else {
		fmt.Fprintf(&b, "\nthe end of the console of %s:\n%s", e.Instance, e.Console)
	}
	return b.String()
}
