// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// spareKiB stays free in the guest beside what is written.
const spareKiB = 8 << 10

// apply brings a guest to the plan and returns what it changed.
func (p plan) apply(ctx context.Context, g Guest, f facts) ([]string, error) {
	have, err := p.inventory(ctx, g)
	if err != nil {
		return nil, err
	}
	todo, err := p.differing(ctx, g, have)
	if err != nil {
		return nil, err
	}
	if err := checkFree(todo, f.FreeKiB); err != nil {
		return nil, err
	}
	var changes []string
	for _, d := range p.dirs {
		if have[d.path].kind == "d" {
			continue
		}
		if err := must(ctx, g, fmt.Sprintf("mkdir -m %o %s", d.mode, quote(d.path))); err != nil {
			return changes, fmt.Errorf("make directory %s in the guest: %w", d.path, err)
		}
		changes = append(changes, "directory "+d.path)
	}
	for _, file := range todo {
		if err := g.Upload(ctx, file.path, bytes.NewReader(file.data), file.mode); err != nil {
			return changes, err
		}
		changes = append(changes, "file "+file.path)
	}
	for _, l := range p.links {
		if have[l.path].kind != "" {
			continue // the link, or something of the image's own
		}
		if err := must(ctx, g, fmt.Sprintf("ln -s %s %s", quote(l.target), quote(l.path))); err != nil {
			return changes, fmt.Errorf("link %s in the guest: %w", l.path, err)
		}
		changes = append(changes, "link "+l.path)
	}
	return changes, nil
}

// must runs a script that has to succeed.
func must(ctx context.Context, g Guest, script string) error {
	out, err := g.Run(ctx, script)
	return errors.Join(err, out.failure())
}

// entry is what a guest has under a path: kind is f, d, l, or empty.
type entry struct{ kind, mode, owner, sum string }

// inventory looks at every path of the plan with one command.
func (p plan) inventory(ctx context.Context, g Guest) (map[string]entry, error) {
	var paths []string
	for _, d := range p.dirs {
		paths = append(paths, quote(d.path))
	}
	for _, f := range p.files {
		paths = append(paths, quote(f.path))
	}
	for _, l := range p.links {
		paths = append(paths, quote(l.path))
	}
	out, err := g.Run(ctx, `for p in `+strings.Join(paths, " ")+`; do
	if [ -L "$p" ]; then echo "l - - - $p"
	elif [ -d "$p" ]; then echo "d - - - $p"
	elif [ -f "$p" ]; then s=$(sha256sum < "$p"); echo "f $(stat -c '%a %u:%g' "$p") ${s%% *} $p"
	fi
done`)
	if err = errors.Join(err, out.failure()); err != nil {
		return nil, fmt.Errorf("look at the guest's files: %w", err)
	}
	have := map[string]entry{}
	for line := range strings.Lines(out.Stdout) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 5)
		if len(fields) == 5 {
			have[fields[4]] = entry{kind: fields[0], mode: fields[1], owner: fields[2], sum: fields[3]}
		}
	}
	return have, nil
}

// differing returns the files that have to be written.
func (p plan) differing(ctx context.Context, g Guest, have map[string]entry) ([]file, error) {
	var out []file
	for _, f := range p.files {
		sum := sha256.Sum256(f.data)
		is := have[f.path]
		want := entry{kind: "f", mode: fmt.Sprintf("%o", f.mode), owner: "0:0", sum: hex.EncodeToString(sum[:])}
		if is == want {
			continue
		}
		if is.kind == "d" {
			return nil, fmt.Errorf("%s is a directory in the guest; remove it first", f.path)
		}
		if f.same != nil && is.kind == "f" && is.mode == want.mode && is.owner == want.owner {
			old, err := g.Run(ctx, "cat "+quote(f.path))
			if err != nil {
				return nil, err
			}
			if f.same([]byte(old.Stdout)) {
				continue
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// checkFree compares what will be written with what the guest has free. Each
// file lies in /tmp first, so that the largest counts twice.
func checkFree(todo []file, freeKiB int64) error {
	if freeKiB < 0 {
		return nil
	}
	var sum, largest int64
	for _, f := range todo {
		n := int64(len(f.data)+4095) / 4096 * 4
		sum, largest = sum+n, max(largest, n)
	}
	if len(todo) == 0 || freeKiB >= sum+largest+spareKiB {
		return nil
	}
	return fmt.Errorf("the guest's root file system is too full: %d MiB are needed and %d MiB are free; start from a larger disk, or remove something first",
		(sum+largest+spareKiB)>>10, freeKiB>>10)
}
