// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command gen builds both agents for both architectures and writes them to
// internal/agents/dist, from where the plugin embeds them. Files that would
// not change are left alone, so that builds stay quick; several runs at once
// do each other no harm.
//
// With a folder as argument it writes RightLink's packages there, in all formats,
// for a mirror.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/mirror/build"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

func main() {
	packages := ""
	if len(os.Args) > 1 {
		packages = os.Args[1]
	}
	if err := generate(context.Background(), packages); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(ctx context.Context, packages string) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	// Packages carry a fixed time where nobody asks for another: their content
	// then depends on the sources alone.
	at, err := build.Time(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "agents-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	g := generator{root: root, dist: filepath.Join(root, "internal/agents/dist"), tmp: tmp, at: at, packages: packages}
	if packages != "" {
		if g.packages, err = filepath.Abs(packages); err != nil {
			return err
		}
		return errors.Join(os.MkdirAll(g.packages, 0o755), g.all(ctx, "amd64"), g.all(ctx, "arm64"))
	}
	if err := os.MkdirAll(g.dist, 0o755); err != nil {
		return err
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if err := errors.Join(g.program(ctx, "bootstrap", arch, bootstrapLimit), g.program(ctx, "imagecheck", arch, imagecheckLimit), g.rightlink(ctx, arch)); err != nil {
			return err
		}
	}
	return g.removeOthers()
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := run.Exec{}.Run(ctx, "go", "env", "GOMOD")
	mod := strings.TrimSpace(out)
	if err != nil || mod == "" || mod == os.DevNull {
		return "", errors.Join(errors.New("run this inside the module"), err)
	}
	return filepath.Dir(mod), nil
}

type generator struct {
	root, dist, tmp string
	at              time.Time
	// packages is where all packages go instead; empty for dist.
	packages string
	made     []string
}

// limits of the stripped binaries in bytes.
const (
	bootstrapLimit = 12 << 20
	rightlinkLimit = 16 << 20
	// imagecheck goes into a guest for a moment only.
	imagecheckLimit = 12 << 20
)

// program builds a program of ours and packs it.
func (g *generator) program(ctx context.Context, name, arch string, limit int64) error {
	file, err := g.compile(ctx, "./cmd/"+name, arch, limit)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, werr := zip.Write(binary)
	if err := errors.Join(werr, zip.Close()); err != nil {
		return err
	}
	return g.put(name+"_linux_"+arch+".gz", packed.Bytes())
}

// rightlink builds every package of an architecture into dist.
func (g *generator) rightlink(ctx context.Context, arch string) error {
	return g.each(ctx, arch, g.put)
}

// all builds them into the folder that was named.
func (g *generator) all(ctx context.Context, arch string) error {
	return g.each(ctx, arch, func(name string, data []byte) error {
		return atomicfile.Write(filepath.Join(g.packages, name), data, 0o644)
	})
}

// each builds the packages of an architecture in all formats.
func (g *generator) each(ctx context.Context, arch string, keep func(name string, data []byte) error) error {
	binary, err := g.compile(ctx, "./cmd/rightlink", arch, rightlinkLimit)
	if err != nil {
		return err
	}
	in := build.Input{Version: version.Package(), Arch: arch, Binary: binary, Time: g.at}
	for kind, make := range map[string]func(io.Writer, build.Input) error{
		build.KindDeb: build.Deb, build.KindRPM: build.RPM, build.KindTarball: build.Tarball,
	} {
		var b bytes.Buffer
		if err := make(&b, in); err != nil {
			return err
		}
		if err := keep(build.FileName(in.Version, arch, kind), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// compile builds a static, stripped binary whose bytes depend on the sources
// alone: no path, no commit, no build id of the host.
func (g *generator) compile(ctx context.Context, pkg, arch string, limit int64) (string, error) {
	out := filepath.Join(g.tmp, filepath.Base(pkg)+"_"+arch)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, pkg)
	cmd.Dir = g.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s for %s: %w\n%s", pkg, arch, err, text)
	}
	info, err := os.Stat(out)
	if err != nil {
		return "", err
	}
	if info.Size() > limit {
		return "", fmt.Errorf("%s for %s has %d bytes; the limit is %d", pkg, arch, info.Size(), limit)
	}
	fmt.Printf("%-16s %-6s %5.1f MB\n", filepath.Base(pkg), arch, float64(info.Size())/(1<<20))
	return out, nil
}

// put writes a file of dist unless it holds these bytes already.
func (g *generator) put(name string, data []byte) error {
	g.made = append(g.made, name)
	file := filepath.Join(g.dist, name)
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Write(file, data, 0o644)
}

// removeOthers removes packages of other versions, which would be embedded too.
func (g *generator) removeOthers() error {
	old, err := filepath.Glob(filepath.Join(g.dist, "*_*"))
	if err != nil {
		return err
	}
	for _, file := range old {
		name := filepath.Base(file)
		if strings.HasPrefix(name, ".") || slices.Contains(g.made, name) {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
