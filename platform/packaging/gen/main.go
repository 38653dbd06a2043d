// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command gen writes the packages of rightscaled for both architectures into the
// folder that it is given; "make packages" runs it.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
	"github.com/rightimage/packer-plugin-rightimage/platform/packaging"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

func main() {
	if err := generate(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("give the folder for the packages")
	}
	// A fixed time where nobody asks for another, as in RightLink's packages.
	at, err := build.Time(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "rightscaled-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	for _, arch := range []string{"amd64", "arm64"} {
		in := packaging.Input{Version: version.Package(), Arch: arch, Binary: filepath.Join(tmp, arch), Time: at}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", in.Binary, "./cmd/rightscaled")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build for %s: %w\n%s", arch, err, text)
		}
		for kind, write := range map[string]func(io.Writer, packaging.Input) error{packaging.KindDeb: packaging.Deb, packaging.KindRPM: packaging.RPM} {
			var b bytes.Buffer
			if err := write(&b, in); err != nil {
				return err
			}
			if err := atomicfile.Write(filepath.Join(args[0], in.FileName(kind)), b.Bytes(), 0o644); err != nil {
				return err
			}
			fmt.Printf("%s %.1f MB\n", in.FileName(kind), float64(b.Len())/(1<<20))
		}
	}
	return nil
}
