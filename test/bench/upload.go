// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// uploadMain uploads once and prints what it took.
func uploadMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("upload", flag.ContinueOnError)
	who := flags.String("who", "ours", "ours or plain")
	disk := flags.String("disk", "", "the disk")
	endpoint := flags.String("endpoint", "", "the service")
	parent := flags.String("parent", "", "manifest of the parent, for ours")
	profile := flags.String("profile", "", "write a CPU profile to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	begin := time.Now()
	var err error
	if *who == "ours" {
		err = ours(ctx, *endpoint, *disk, *parent)
	} else {
		err = plain(ctx, *endpoint, *disk)
	}
	m := measure{Wall: time.Since(begin).Seconds(), CPU: cpu(), PeakMiB: peak()}
	if err != nil {
		m.Failed, _, _ = strings.Cut(err.Error(), ", https response")
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// ours uploads with the product's client and the product's defaults.
func ours(ctx context.Context, endpoint, path, manifest string) error {
	f, err := awsx.New(ctx, awsx.Config{Region: region, AccessKey: "AKIABENCH", SecretKey: "bench", EndpointURL: endpoint})
	if err != nil {
		return err
	}
	d, err := sparse.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	var o upload.Options
	if manifest != "" {
		m, err := upload.ReadManifest(manifest)
		if err != nil {
			return err
		}
		o.Parent = &upload.Parent{SnapshotID: m.Snapshots[region], Manifest: m}
	}
	dir, err := os.MkdirTemp("", "rightimage-bench-journal-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o.Journal = dir + "/journal"
	snap, err := upload.Upload(ctx, d, upload.Target{
		Region: region, API: f.EBS(region),
		Start:   func(string) *ebs.StartSnapshotInput { return &ebs.StartSnapshotInput{} },
		Made:    func(string) func() { return func() {} },
		Unknown: func(string) func() { return func() {} },
		Discard: func(context.Context, upload.Stale) error { return nil },
		State:   func(context.Context, string) (upload.State, error) { return upload.Completed, nil },
	}, o)
	if err != nil {
		return err
	}
	return snap.Forget()
}

// cpu is the processor time of this process in seconds.
func cpu() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the most memory that was resident, in MiB. It is that of this program
// image alone, which ru_maxrss is not.
func peak() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for text := range strings.Lines(string(status)) {
		var kib float64
		if n, _ := fmt.Sscanf(text, "VmHWM: %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}
