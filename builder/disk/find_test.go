// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/rootfs"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

func quietUI() packersdk.Ui {
	return &packersdk.BasicUi{Reader: nil, Writer: io.Discard, ErrorWriter: io.Discard}
}

// find runs findRoot on a disk, and checks that it leaves nothing.
func find(t *testing.T, disk string, number int) (rootfs.Candidate, error) {
	t.Helper()
	state := new(multistep.BasicStateBag)
	keyWork.Put(state, disk)
	f := &flow{config: &Config{RootPartition: number}, user: run.Exec{}, root: wrapper{template: defaultRootWrapper, exec: run.Exec{}}}
	err := f.findRoot(context.Background(), &step.Job{State: state, UI: quietUI()})
	nothingLeft(t, filepath.Dir(disk))
	root, _ := keyRoot.Get(state)
	return root, err
}

func TestFindRoot(t *testing.T) {
	needRoot(t)
	tree := system(t, "busy")
	other := system(t, "other")
	empty := t.TempDir()
	swap := part{size: 8, kind: "S", fill: `mkswap -q "$1"`}

	for name, tc := range map[string]struct {
		label  string
		parts  []part
		number int
		want   int
		fails  []string
	}{
		"gpt":                       {label: "gpt", parts: []part{{size: 4, kind: "21686148-6449-6E6F-744E-656564454649", fill: "true"}, swap, {size: 48, tree: tree}}, want: 3},
		"mbr":                       {label: "dos", parts: []part{swap, {size: 48, tree: tree}}, want: 2},
		"none":                      {label: "none", parts: []part{{size: 48, tree: tree}}, want: 0},
		"boot partition first":      {label: "gpt", parts: []part{{size: 16, tree: empty}, {size: 48, tree: tree}}, want: 2},
		"two systems":               {label: "gpt", parts: []part{{size: 48, tree: tree}, {size: 48, tree: other}}, fails: []string{"several partitions hold a system", "busy 1", "other 1", "root_partition = N"}},
		"two systems, one chosen":   {label: "gpt", parts: []part{{size: 48, tree: tree}, {size: 48, tree: other}}, number: 2, want: 2},
		"two systems, one labelled": {label: "gpt", parts: []part{{size: 48, tree: tree}, {size: 48, tree: other, opts: "-L root"}}, want: 2},
		"no system":                 {label: "gpt", parts: []part{swap, {size: 16, tree: empty}}, fails: []string{"no root file system found", "partition 1: swap", "neither /etc/os-release"}},
		"chosen swap":               {label: "gpt", parts: []part{swap, {size: 48, tree: tree}}, number: 1, fails: []string{"root_partition = 1", "only ext2"}},
		"chosen missing":            {label: "gpt", parts: []part{swap}, number: 9, fails: []string{"no such partition"}},
		"damaged superblock":        {label: "gpt", parts: []part{{size: 16, fill: `mkfs.ext4 -q -F "$1"; dd if=/dev/urandom of="$1" bs=1024 seek=2 count=2000 conv=notrunc status=none`}}, fails: []string{"no root file system found"}},
		"empty disk":                {label: "none", parts: []part{{size: 4, fill: "true"}}, fails: []string{"no root file system found", "the whole disk: no known file system"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := find(t, makeDisk(t, tc.label, tc.parts...), tc.number)
			if len(tc.fails) == 0 {
				require.NoError(t, err)
				require.Equal(t, tc.want, got.Number)
				return
			}
			for _, text := range tc.fails {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestFindRootOnXFS(t *testing.T) {
	needRoot(t)
	needTools(t, "mkfs.xfs")
	tree := system(t, "busy")
	disk := makeDisk(t, "gpt", part{size: 320, fill: `mkfs.xfs -q "$1"`})
	// mkfs.xfs cannot fill a file system from a tree.
	mnt := t.TempDir()
	sh(t, `mount -o loop,offset=1048576,nouuid "$1" "$2"; cp -a "$3/." "$2"; umount "$2"`, disk, mnt, tree)
	got, err := find(t, disk, 0)
	require.NoError(t, err)
	require.Equal(t, "xfs", got.FS.Type)
}

func TestFindRootOfTruncatedDisk(t *testing.T) {
	disk := makeDisk(t, "gpt", part{size: 48, tree: t.TempDir()})
	require.NoError(t, os.Truncate(disk, 20*mib))
	_, err := find(t, disk, 0)
	require.ErrorContains(t, err, "the file is incomplete")
}
