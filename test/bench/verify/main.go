// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command verify compares "rightimage verify" of a root directory of 2 GiB in
// 60,000 files with a plain read of the same files, one after the other. Each is a
// process of its own, with the page cache emptied before (as root) and with all
// files in it. "make bench" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	dir := flags.String("dir", "", "where the root is made (2 GiB); default: a temporary directory")
	one := flags.String("one", "", "plain or verify: do that to -root and end")
	root := flags.String("root", "", "the root for -one, or one that exists instead of a made one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *one {
	case "plain":
		return plain(*root)
	case "verify":
		_, err := verify.Run(ctx, *root, verify.Options{Public: true})
		return err
	}
	if *root == "" {
		work, err := os.MkdirTemp(*dir, "rightimage-bench-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(work) }()
		if err := makeRoot(work, 60000, 2<<30); err != nil {
			return err
		}
		*root = work
	}
	return table(ctx, *root)
}

// makeRoot makes the corpus's clean root with so many files more, as a Debian
// system has them: most are small, half are text.
func makeRoot(dir string, files int, bytes int64) error {
	if err := corpus.Base(dir); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(1, 2)) // no secret
	words := []string{"the ", "return ", "func ", "configuration\n", "0x1f, ", "= ", "value ", "library.so.6 ", "\tif ", "password ", "begin ", "-----\n", "import "}
	text := make([]byte, 0, 4<<20)
	for len(text) < 4<<20-32 {
		text = append(text, words[rng.IntN(len(words))]...)
	}
	binary := make([]byte, 4<<20)
	for i := range binary {
		if rng.IntN(3) > 0 {
			binary[i] = byte(rng.IntN(256))
		}
	}
	mean := bytes / int64(files)
	for i := range files {
		size := mean / 4 * int64(1+rng.IntN(3))
		if i%20 == 0 {
			size = mean * 11 // a few hold most of the bytes
		}
		from := text
		if i%2 == 0 {
			from = binary
		}
		at := rng.IntN(len(from) - int(size) - 1)
		name := filepath.Join(dir, "usr/share", fmt.Sprintf("package%d/dir%d", i/300, i/20%15), fmt.Sprintf("file%d", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, from[at:at+int(size)], 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// plain reads every file, as tar or cp would.
func plain(root string) error {
	buf := make([]byte, 256<<10)
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		return errors.Join(err, f.Close())
	})
}

// table measures both, cold and warm.
func table(ctx context.Context, root string) error {
	fmt.Printf("%-6s %-7s %8s %8s %9s\n", "cache", "", "wall", "CPU", "memory")
	for _, cache := range []string{"cold", "warm"} {
		walls := map[string]time.Duration{}
		for _, what := range []string{"plain", "verify"} {
			for round := range 3 {
				if cache == "cold" && !dropCaches() {
					continue
				}
				wall, cpu, memory, err := measure(ctx, what, root)
				if err != nil {
					return err
				}
				if best, ok := walls[what]; !ok || wall < best {
					walls[what] = wall
				}
				if round == 2 {
					fmt.Printf("%-6s %-7s %7.2fs %7.2fs %5d MiB\n", cache, what, walls[what].Seconds(), cpu.Seconds(), memory>>20)
				}
			}
		}
		if walls["plain"] > 0 {
			fmt.Printf("%-6s %-7s %7.0f%%\n", "", "", 100*walls["verify"].Seconds()/walls["plain"].Seconds())
		}
	}
	return nil
}

// dropCaches empties the page cache, which needs root.
func dropCaches() bool {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) == nil
}

func measure(ctx context.Context, what, root string) (wall, cpu time.Duration, memory int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-one", what, "-root", root)
	cmd.Stderr = os.Stderr
	started := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, 0, err
	}
	wall = time.Since(started)
	cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		memory = usage.Maxrss << 10
	}
	return wall, cpu, memory, nil
}
