// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command bench compares the block uploader with a plain one: 64 workers that
// read the whole disk, on the SDK's own client and retries, as the tools do that
// are in use today. Each upload is a process of its own, and so is the service
// that takes the blocks, so that nothing is counted twice. "make bench" runs it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does what the first word says; without one it makes the table.
func run(ctx context.Context, args []string) error {
	word := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		word, args = args[0], args[1:]
	}
	switch word {
	case "":
		return table(ctx, args)
	case "sink":
		return sinkMain(ctx, args)
	case "upload":
		return uploadMain(ctx, args)
	default:
		return fmt.Errorf("%q: the words are sink and upload", word)
	}
}

// line is what lies between the uploader and the service, and what the service
// does.
type line struct {
	name string
	sink sinkOptions
}

func lines() []line {
	return []line{
		{"0 ms", sinkOptions{}},
		{"20 ms", sinkOptions{LatencyMS: 20}},
		{"200 Mbit/s", sinkOptions{LatencyMS: 20, BytesPerSecond: 200e6 / 8}},
		{"600 requests/s", sinkOptions{LatencyMS: 20, PerSecond: 600}},
		{"10 % throttled", sinkOptions{LatencyMS: 20, Throttle: 0.1}},
	}
}

func table(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "run only rows whose image and line contain these words, such as \"sparse 20\"")
	runs := flags.Int("runs", 1, "run each row so often and show the one with the median wall time")
	dir := flags.String("dir", "", "where the images are made (3 GiB); default: a temporary directory")
	profile := flags.String("profile", "", "write CPU profiles of our uploads into this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	work, err := os.MkdirTemp(*dir, "rightimage-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b := bench{self: self, work: work, only: strings.Fields(*only), runs: *runs, profile: *profile}
	return b.all(ctx)
}

// bench is one table.
type bench struct {
	self, work, profile string
	only                []string
	runs                int
}

func (b *bench) all(ctx context.Context) error {
	images, err := makeImages(b.work)
	if err != nil {
		return err
	}
	fmt.Printf("%-12s %-15s %-6s %8s %8s %9s %9s %10s  %s\n", "image", "line", "", "wall", "CPU", "memory", "requests", "sent", "")
	for _, img := range images {
		for i, l := range lines() {
			if img.cached && i > 1 {
				break // the line decides, not the cache
			}
			if !b.wanted(img.name + " " + l.name) {
				continue
			}
			if err := b.row(ctx, img, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) wanted(name string) bool {
	for _, word := range b.only {
		if !strings.Contains(name, word) {
			return false
		}
	}
	return true
}

// row measures both uploaders with one image over one line.
func (b *bench) row(ctx context.Context, img picture, l line) error {
	var both []measure
	for _, who := range []string{"ours", "plain"} {
		m, err := b.median(ctx, img, l, who)
		if err != nil {
			return err
		}
		note := ""
		switch {
		case m.Failed != "":
			note = "FAILED: " + m.Failed
		case img.parent != "" && who == "ours":
			// Most of the time goes into reading the disk, not into the line.
		case l.sink.BytesPerSecond > 0:
			note = fmt.Sprintf("%.0f %% of bytes/cap", 100*m.Wall/(float64(m.Bytes)/l.sink.BytesPerSecond))
		case l.sink.PerSecond > 0:
			note = fmt.Sprintf("%.0f %% of blocks/cap", 100*m.Wall/(float64(m.Stored)/l.sink.PerSecond))
		}
		fmt.Printf("%-12s %-15s %-6s %7.2fs %7.2fs %5.0f MiB %9d %6.0f MiB  %s\n",
			img.name, l.name, who, m.Wall, m.CPU, m.PeakMiB, m.Requests, float64(m.Bytes)/(1<<20), note)
		both = append(both, m)
	}
	if ours, plain := both[0], both[1]; ours.Failed == "" && plain.Failed == "" {
		fmt.Printf("%-12s %-15s %-6s %7.0f%% %7.0f%% %8.0f%%\n", "", "", "", 100*ours.Wall/plain.Wall, 100*ours.CPU/plain.CPU, 100*ours.PeakMiB/plain.PeakMiB)
	}
	return nil
}

// measure is what one upload took.
type measure struct {
	Wall     float64 `json:"wall"` // seconds, as CPU
	CPU      float64 `json:"cpu"`
	PeakMiB  float64 `json:"peak_mib"`
	Failed   string  `json:"failed"`
	Requests int64   `json:"requests"` // of blocks, and what came with them, as the sink saw it
	Bytes    int64   `json:"bytes"`
	Stored   int64   `json:"stored"`
}

func (b *bench) median(ctx context.Context, img picture, l line, who string) (measure, error) {
	var all []measure
	for range max(b.runs, 1) {
		m, err := b.upload(ctx, img, l, who)
		if err != nil {
			return m, err
		}
		at := 0
		for at < len(all) && all[at].Wall < m.Wall {
			at++
		}
		all = append(all[:at], append([]measure{m}, all[at:]...)...)
	}
	return all[len(all)/2], nil
}

// upload runs one upload against a sink of its own.
func (b *bench) upload(ctx context.Context, img picture, l line, who string) (m measure, err error) {
	if err := img.settle(); err != nil {
		return m, err
	}
	sink, err := startSink(ctx, b.self, l.sink)
	if err != nil {
		return m, err
	}
	defer sink.stop()
	args := []string{"upload", "-who", who, "-disk", img.path, "-endpoint", sink.endpoint}
	if img.parent != "" {
		args = append(args, "-parent", img.parent)
	}
	if b.profile != "" && who == "ours" {
		args = append(args, "-profile", filepath.Join(b.profile, strings.NewReplacer(" ", "-", "/", "-").Replace(img.name+"-"+l.name)+".pprof"))
	}
	out, err := output(ctx, b.self, args...)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return m, err
	}
	return m, sink.stats(ctx, &m)
}
