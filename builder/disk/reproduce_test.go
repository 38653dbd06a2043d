// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/ext4"
	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/verify/clean"
)

// scribble does to a mounted root what a build does, in an order of its own: many
// files at the same time, some of which go again, and things that are not files.
func scribble(t *testing.T, root string, seed uint64) {
	t.Helper()
	order := rand.New(rand.NewPCG(seed, seed)).Perm(400)
	var wg sync.WaitGroup
	for part := range slices.Chunk(order, 100) {
		wg.Go(func() {
			for _, n := range part {
				dir := filepath.Join(root, "opt", fmt.Sprintf("dir%d", n%7))
				_ = os.MkdirAll(dir, 0o755)
				_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("gone%d", n)), make([]byte, n*(int(seed)%13+1)), 0o644)
				_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", n)), fmt.Appendf(nil, "content of %d: %s", n, make([]byte, n*40)), 0o644)
				_ = os.Remove(filepath.Join(dir, fmt.Sprintf("gone%d", n)))
			}
		})
	}
	wg.Wait()
	at := func(p string) string { return filepath.Join(root, p) }
	require.NoError(t, os.Symlink("dir1/file1", at("opt/link")))
	require.NoError(t, os.Link(at("opt/dir1/file1"), at("opt/hard")))
	require.NoError(t, unix.Mkfifo(at("opt/pipe"), 0o600))
	require.NoError(t, unix.Mknod(at("opt/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	require.NoError(t, os.Lchown(at("opt/link"), 1234, 70000))
	require.NoError(t, os.Chown(at("opt/hard"), 70000, 4321))
	require.NoError(t, os.Chmod(at("opt/dir2"), 0o2775|os.ModeSetgid))
	require.NoError(t, unix.Setxattr(at("opt/dir1/file1"), "user.note", []byte("kept"), 0))
	holes, err := os.Create(at("opt/holes"))
	require.NoError(t, err)
	_, err = holes.WriteAt([]byte("end"), 5<<20)
	require.NoError(t, err)
	require.NoError(t, holes.Close())
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("opt/socket")})
	require.NoError(t, err)
	socket.SetUnlinkOnClose(false)
	require.NoError(t, socket.Close())
	require.NoError(t, os.WriteFile(at("etc/shadow"), fmt.Appendf(nil, "root:*:%d:0:99999:7:::\n", 29000+seed), 0o640))
}

// built makes a disk of a base disk as the builder does, at another moment, in
// another place.
func built(t *testing.T, base string, seed uint64, date time.Time) (before, after string) {
	t.Helper()
	after = filepath.Join(t.TempDir(), "work.raw")
	sh(t, `cp --sparse=always "$1" "$2"`, base, after)
	_, all, err := scan(after)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), fmt.Sprint("mount", seed))
	require.NoError(t, os.Mkdir(dir, 0o700))
	a := &attachment{root: run.Exec{}, disk: after, dir: dir}
	t.Cleanup(func() { require.NoError(t, a.close(context.Background())) })
	part := all[len(all)-1]
	require.NoError(t, a.loop(t.Context(), part))
	require.NoError(t, a.mount(t.Context(), part, "rw"))
	scribble(t, dir, seed)
	_, err = clean.Run(t.Context(), dir, clean.Options{SourceDate: date})
	require.NoError(t, err)
	require.NoError(t, a.close(t.Context()))
	before = filepath.Join(t.TempDir(), "before.raw")
	sh(t, `cp --sparse=always "$1" "$2"`, after, before)
	var owed []func(context.Context) error
	require.NoError(t, renewal{root: run.Exec{}, disk: after, part: part, date: date}.run(t.Context(), func(_ string, undo func(context.Context) error) { owed = append(owed, undo) }))
	for _, undo := range slices.Backward(owed) {
		require.NoError(t, undo(t.Context()), "what was undone already is undone again")
	}
	return before, after
}

// Two builds of the same things, at two moments and in two orders, make disks of
// the same blocks; without reproducible they would not.
func TestEqualBuildsMakeEqualDisks(t *testing.T) {
	needRoot(t)
	needTools(t, "mke2fs", "e2fsck", "sfdisk")
	base := makeDisk(t, "gpt", part{size: 4, kind: biosBoot, fill: `head -c 1000 /dev/zero | tr '\0' x >"$1.x"; dd if="$1.x" of="$1" conv=notrunc status=none`},
		part{size: 96, tree: system(t, "one"), opts: "-L root -O metadata_csum,64bit"})
	date := time.Unix(1_700_000_000, 0)
	before1, after1 := built(t, base, 1, date)
	time.Sleep(1100 * time.Millisecond) // another second, so another time
	before2, after2 := built(t, base, 2, date)
	compare := func(a, b string) []attest.Difference {
		x, err := attest.FileBlocks(t.Context(), a, nil)
		require.NoError(t, err)
		y, err := attest.FileBlocks(t.Context(), b, nil)
		require.NoError(t, err)
		return attest.Differences(x, y)
	}
	require.NotEmpty(t, compare(before1, before2), "the kernel lays files out by the moment")
	for _, d := range compare(after1, after2) {
		t.Errorf("block %d differs: %s", d.Block, explain(t, after1, after2, d.Offset))
	}

	// Nothing was lost, and everything around the file system is as it was.
	require.NoError(t, Inspect(t.Context(), before1, func(old string) error {
		return Inspect(t.Context(), after1, func(now string) error {
			left, err := imagediff.Files(t.Context(), old, now)
			require.NoError(t, err)
			left = slices.DeleteFunc(left, func(f imagediff.FileChange) bool { return f.Path == "/opt/socket" }) // old versions of mke2fs leave it out
			require.Empty(t, left)
			value := make([]byte, 10)
			n, err := unix.Getxattr(filepath.Join(now, "opt/dir1/file1"), "user.note", value)
			require.NoError(t, err)
			require.Equal(t, "kept", string(value[:n]))
			info, err := os.Lstat(filepath.Join(now, "opt/link"))
			require.NoError(t, err)
			require.Equal(t, date.Unix(), info.ModTime().Unix())
			return nil
		})
	}))
	head := func(path string) []byte {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		data := make([]byte, 5<<20)
		_, err = io.ReadFull(f, data)
		require.NoError(t, err)
		return data
	}
	require.Equal(t, head(before1), head(after1), "partition table and boot partition")
	require.Equal(t, "root", sh(t, `blkid -p -O 5242880 -s LABEL -o value "$1"`, after1))
	require.Equal(t, sh(t, `blkid -p -O 5242880 -s UUID -o value "$1"`, base), sh(t, `blkid -p -O 5242880 -s UUID -o value "$1"`, after1))
}

// explain names the first byte of a block that differs, for the reader of a
// failed test.
func explain(t *testing.T, a, b string, at int64) string {
	t.Helper()
	return sh(t, `cmp -l -i "$3" -n 524288 "$1" "$2" | head -n 5 || true`, a, b, fmt.Sprint(at))
}

// File systems of other kinds, as mkfs makes them with other options.
func TestRenewKinds(t *testing.T) {
	needRoot(t)
	needTools(t, "mke2fs", "e2fsck")
	tree := system(t, "kinds")
	date := time.Unix(1_700_000_000, 0)
	for name, opts := range map[string]string{
		"ext2": "-t ext2", "ext3": "-t ext3", "small blocks": "-b 1024", "small inodes": "-I 128 -O ^metadata_csum", "no journal": "-O ^has_journal", "without checksums": "-O ^metadata_csum,^64bit", "reserved": "-m 7",
	} {
		t.Run(name, func(t *testing.T) {
			disk := makeDisk(t, "none", part{size: 40, tree: tree, opts: opts})
			before := sh(t, `tune2fs -l "$1" | grep -E 'features|UUID|Block size|Inode size|Inode count|Block count|Reserved block count|Hash Seed|Checksum seed'`, disk)
			_, all, err := scan(disk)
			require.NoError(t, err)
			require.NoError(t, renewal{root: run.Exec{}, disk: disk, part: all[0], date: date}.run(t.Context(), func(string, func(context.Context) error) {}))
			require.Equal(t, before, sh(t, `tune2fs -l "$1" | grep -E 'features|UUID|Block size|Inode size|Inode count|Block count|Reserved block count|Hash Seed|Checksum seed'`, disk))
			sh(t, `e2fsck -fn "$1"`, disk)
			nothingLeft(t, filepath.Dir(disk))
			left, err := os.ReadDir(filepath.Dir(disk))
			require.NoError(t, err)
			require.Len(t, left, 1)
		})
	}
}

// What cannot be written anew is left as it is, and says why.
func TestRenewRefuses(t *testing.T) {
	needTools(t, "mke2fs", "sfdisk")
	tree := system(t, "refused")
	fancy := makeDisk(t, "none", part{size: 40, tree: tree, opts: "-O quota"})
	f, err := os.Open(fancy)
	require.NoError(t, err)
	defer f.Close()
	super, err := ext4.ReadSuper(f)
	require.NoError(t, err)
	_, err = super.Arguments()
	require.ErrorIs(t, err, ext4.ErrUnfit)

	grub := filepath.Join(t.TempDir(), "grub")
	require.NoError(t, os.WriteFile(grub, append(make([]byte, 100), "GRUB "...), 0o600))
	require.NoError(t, os.Truncate(grub, 1<<20))
	require.ErrorIs(t, checkBoot(grub, parttable.Table{Scheme: parttable.GPT}), ext4.ErrUnfit)
	require.NoError(t, checkBoot(grub, parttable.Table{Scheme: parttable.GPT, Partitions: []parttable.Partition{{Type: biosBoot}}}))
	require.NoError(t, checkBoot(grub, parttable.Table{Scheme: parttable.MBR}), "its core lies in the gap")
}

func TestReproducibleOption(t *testing.T) {
	for _, tc := range []struct {
		env  string
		want bool
		fail bool
	}{{"", false, false}, {"1700000000", true, false}, {"soon", false, true}, {"-5", false, true}} {
		t.Setenv("SOURCE_DATE_EPOCH", tc.env)
		var c Config
		problems := c.prepareReproducible()
		require.Equal(t, tc.fail, len(problems) > 0, tc.env)
		require.Equal(t, tc.want, !c.date.IsZero(), tc.env)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	var c Config
	c.Reproducible = config.TriTrue
	require.ErrorContains(t, c.prepareReproducible()[0], "SOURCE_DATE_EPOCH")
}
