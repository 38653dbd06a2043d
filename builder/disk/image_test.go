// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

// needRoot skips a test that mounts.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
}

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
}

// sh runs a script and returns what it prints.
func sh(t *testing.T, script string, args ...string) string {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":"+sbin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.TrimSpace(string(out))
}

// system makes a root file tree around busybox, and returns its directory.
func system(t *testing.T, name string) string {
	t.Helper()
	needTools(t, "busybox", "ldd")
	tree := filepath.Join(t.TempDir(), "tree")
	sh(t, `
		mkdir -p "$1" && cd "$1"
		mkdir -p bin sbin etc proc sys dev run tmp root usr/sbin usr/bin opt var/spool var/lib
		chmod 1777 tmp
		busybox=$(command -v busybox)
		cp -L "$busybox" bin/busybox
		for lib in $(ldd "$busybox" 2>/dev/null | grep -o '/[^ ]*'); do
			mkdir -p ".$(dirname "$lib")"
			cp -L "$lib" ".$lib"
		done
		for applet in $(busybox --list); do [ -e "bin/$applet" ] || ln -s busybox "bin/$applet"; done
		ln -s ../bin/busybox sbin/init
		printf 'ID=%s\nVERSION_ID=1\nPRETTY_NAME="%s 1"\n' "$2" "$2" > etc/os-release
		echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd
		ln -s ../run/resolv.conf etc/resolv.conf
	`, tree, name)
	return tree
}

// part is a partition of a test disk: its size in MiB, and either a file tree
// for an ext4 file system, or a script that fills the file $1.
type part struct {
	size int
	kind string
	tree string
	fill string
	opts string
}

// makeDisk makes a disk with the given label (gpt, dos, or none for a bare file
// system).
func makeDisk(t *testing.T, label string, parts ...part) string {
	t.Helper()
	needTools(t, "mkfs.ext4", "sfdisk")
	path := filepath.Join(t.TempDir(), "disk.raw")
	script := "label: " + label + "\n"
	start := 1
	for _, p := range parts {
		kind := p.kind
		if kind == "" {
			kind = "L"
		}
		script += fmt.Sprintf("start=%dMiB, size=%dMiB, type=%s\n", start, p.size, kind)
		start += p.size
	}
	if label == "none" {
		require.Len(t, parts, 1)
		sh(t, `truncate -s "$1"M "$2"`, fmt.Sprint(parts[0].size), path)
	} else {
		sh(t, `truncate -s "$1"M "$2"; printf '%s' "$3" | sfdisk -q "$2"`, fmt.Sprint(start+1), path, script)
	}
	offset := 1
	if label == "none" {
		offset = 0
	}
	for i, p := range parts {
		file := filepath.Join(t.TempDir(), fmt.Sprintf("part%d", i))
		fill := p.fill
		if p.tree != "" {
			fill = `mkfs.ext4 -q -F ` + p.opts + ` -d "` + p.tree + `" "$1"`
		}
		sh(t, `truncate -s "$2"M "$1"; `+fill, file, fmt.Sprint(p.size))
		sh(t, `dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none`, file, path, fmt.Sprint(offset))
		offset += p.size
	}
	return path
}

// nothingLeft checks that no mount and no loop device refers to a directory.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), dir, "a mount is left")
	require.NotContains(t, sh(t, "losetup --list --output BACK-FILE --noheadings"), dir, "a loop device is left")
}
