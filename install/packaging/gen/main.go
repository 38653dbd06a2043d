// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command gen writes the packages of the toolkit and of bootstrap, for both
// architectures, into the folder that it is given; "make packages" runs it.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/install/packaging"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
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
	tmp, err := os.MkdirTemp("", "rightimage-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	for _, name := range []string{packaging.Toolkit, packaging.Bootstrap} {
		for _, arch := range []string{"amd64", "arm64"} {
			program := packaging.Program(name)
			in := packaging.Input{Name: name, Version: version.Package(), Arch: arch, Binary: filepath.Join(tmp, program+"_"+arch), Time: at}
			if err := compile(ctx, program, in); err != nil {
				return err
			}
			if err := write(args[0], in); err != nil {
				return err
			}
		}
	}
	return nil
}

// compile builds a program as internal/agents/gen builds the agents.
func compile(ctx context.Context, program string, in packaging.Input) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", in.Binary, "./cmd/"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+in.Arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s for %s: %w\n%s", program, in.Arch, err, text)
	}
	return nil
}

func write(dir string, in packaging.Input) error {
	for _, kind := range []string{packaging.KindDeb, packaging.KindRPM} {
		var b bytes.Buffer
		if err := packaging.Write(&b, kind, in); err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(dir, in.FileName(kind)), b.Bytes(), 0o644); err != nil {
			return err
		}
		fmt.Printf("%s %.1f MB\n", in.FileName(kind), float64(b.Len())/(1<<20))
	}
	return nil
}
