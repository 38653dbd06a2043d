// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"
)

// The ways to run a guest's instructions.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// probeRun is how long the probe lets the firmware run under KVM. A broken KVM
// stops in its first instructions.
const probeRun = 500 * time.Millisecond

// probeAccel tells whether KVM really works here. /dev/kvm alone is no proof:
// on some hosts it opens, and the guest dies at its first instruction.
func probeAccel(ctx context.Context, qemu, dir string) string {
	if !cpuHasVirtualisation("/proc/cpuinfo") {
		return accelTCG
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return accelTCG
	}
	_ = kvm.Close()
	argv := append([]string{qemu}, baseArgs(accelKVM, 1, 128)...)
	p, err := startProcess(ctx, argv, filepath.Join(dir, "probe.log"))
	if err != nil {
		return accelTCG
	}
	defer p.ctl.close()
	defer p.kill()
	select {
	case <-p.done:
		return accelTCG
	case <-time.After(probeRun):
	}
	if state, err := p.ctl.status(ctx); err != nil || state != "running" {
		return accelTCG
	}
	return accelKVM
}

// cpuHasVirtualisation reports the vmx or svm flag in a cpuinfo file.
func cpuHasVirtualisation(path string) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(data) {
		if !bytes.HasPrefix(line, []byte("flags")) {
			continue
		}
		for flag := range bytes.FieldsSeq(line) {
			if string(flag) == "vmx" || string(flag) == "svm" {
				return true
			}
		}
		return false // all CPUs of a host are alike
	}
	return false
}
