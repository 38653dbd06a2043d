// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package corpus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// DiskCase is a disk with a defect below its file systems. Check has to find it
// on the disk; on the near-miss it must not.
type DiskCase struct {
	Check, Name  string
	Defect, Near func(d *Disk)
}

// Disk is a disk under construction: GPT, a boot loader's partition, a root of
// ext4 and a swap area. The first error stops what follows.
type Disk struct {
	ctx  context.Context // of the commands that make it
	path string
	Err  error
}

const (
	mib       = 1 << 20
	rootStart = 2 * mib
	rootSize  = 64 * mib
	swapStart = rootStart + rootSize
	swapSize  = 8 * mib
)

// Tools are the programs that making disks needs.
func Tools() []string { return []string{"mkfs.ext4", "debugfs", "mkswap", "sfdisk"} }

// MakeDisk makes a disk and lets plant change it. The files of root, which may be
// nil, are in its file system.
func MakeDisk(ctx context.Context, path string, root map[string]string, plant func(d *Disk)) error {
	d := &Disk{ctx: ctx, path: path}
	d.table()
	d.fileSystem(root)
	d.boot()
	if plant != nil && d.Err == nil {
		plant(d)
	}
	return d.Err
}

// run runs a command with some input; its error holds what it printed.
func (d *Disk) run(input, name string, args ...string) string {
	if d.Err != nil {
		return ""
	}
	cmd := exec.CommandContext(d.ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.Err = fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out)
}

func (d *Disk) table() {
	d.Err = errors.Join(d.Err, os.WriteFile(d.path, nil, 0o600), os.Truncate(d.path, 1<<30))
	d.run(fmt.Sprintf("label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\nstart=%d, size=%d, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709\nstart=%d, size=%d, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F\n",
		rootStart/512, rootSize/512, swapStart/512, swapSize/512), "sfdisk", "--quiet", d.path)
	swap := d.path + ".swap"
	defer os.Remove(swap) //nolint:errcheck // in a temporary directory
	d.Err = errors.Join(d.Err, os.WriteFile(swap, nil, 0o600), os.Truncate(swap, swapSize))
	d.run("", "mkswap", "-q", "-L", "swap", swap)
	d.copyIn(swap, swapStart, 4096)
}

// fileSystem makes the root with files in it.
func (d *Disk) fileSystem(files map[string]string) {
	dir, err := os.MkdirTemp(filepath.Dir(d.path), "fs")
	d.Err = errors.Join(d.Err, err)
	defer os.RemoveAll(dir) //nolint:errcheck // in a temporary directory
	r := &Root{Dir: dir}
	for p, content := range files {
		r.write(p, content, 0o644)
	}
	d.Err = errors.Join(d.Err, r.Err)
	d.run("", "mkfs.ext4", "-q", "-F", "-L", "root", "-J", "size=4", "-E", "nodiscard,offset="+strconv.Itoa(rootStart), "-d", dir, d.path, strconv.Itoa(rootSize/1024)+"k")
}

func (d *Disk) boot() { d.Write(0, "\xeb\x63\x90boot code") }

// copyIn copies the first bytes of a file to a place on the disk.
func (d *Disk) copyIn(file string, at, n int64) {
	if d.Err != nil {
		return
	}
	f, err := os.Open(file)
	if err != nil {
		d.Err = err
		return
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, n))
	d.Err = err
	d.Write(at, string(data))
}

// Write writes at a byte of the disk.
func (d *Disk) Write(at int64, text string) {
	if d.Err != nil {
		return
	}
	f, err := os.OpenFile(d.path, os.O_WRONLY, 0)
	if err != nil {
		d.Err = err
		return
	}
	_, err = f.WriteAt([]byte(text), at)
	d.Err = errors.Join(err, f.Close())
}

// Debugfs runs a command of debugfs in the root file system.
func (d *Disk) Debugfs(command string) string {
	return d.run("", "debugfs", "-w", "-R", command, d.path+"?offset="+strconv.Itoa(rootStart))
}

// journalBlock is where on the disk a block of the journal is.
func (d *Disk) journalBlock(n int) int64 {
	out := strings.TrimSpace(d.Debugfs(fmt.Sprintf("bmap <8> %d", n)))
	lines := strings.Split(out, "\n")
	block, err := strconv.ParseInt(strings.TrimSpace(lines[len(lines)-1]), 10, 64)
	if err != nil {
		d.Err = errors.Join(d.Err, fmt.Errorf("debugfs bmap: %q: %w", out, err))
	}
	return rootStart + block*d.blockSize()
}

func (d *Disk) blockSize() int64 {
	out := d.Debugfs("stats")
	for line := range strings.Lines(out) {
		if text, ok := strings.CutPrefix(line, "Block size:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			d.Err = errors.Join(d.Err, err)
			return n
		}
	}
	d.Err = errors.Join(d.Err, errors.New("debugfs does not tell the size of blocks"))
	return 0
}

// Key is the AWS key that the disks hold, as a credentials file has it.
func Key() string {
	return "[default]\naws_access_key_id = " + KeyID() + "\naws_secret_access_key = " + KeySecret() + "\n"
}

// DiskFiles are those of the disks' root file system.
func DiskFiles() map[string]string {
	return map[string]string{"/etc/os-release": "ID=debian\n", "/bin/sh": "x", "/sbin/init": "x", "/root/key": Key(), "/srv/big": strings.Repeat("harmless ", 20000)}
}

// DiskCases are the disks of the corpus.
func DiskCases() []DiskCase {
	nothing := func(*Disk) {}
	return []DiskCase{
		// The file is deleted; a file that is there is judged by the checks of files.
		{"fs-deleted-data", "an AWS key in a deleted file", func(d *Disk) { d.Debugfs("rm /root/key") }, nothing},
		{"fs-deleted-data", "an AWS key in the journal", func(d *Disk) { d.Write(d.journalBlock(40), Key()) }, func(d *Disk) { d.Write(d.journalBlock(40), "[default]\nregion = eu-west-1\n") }},
		{"fs-deleted-data", "an AWS key in a swap area", func(d *Disk) { d.Write(swapStart+3*4096, Key()) }, nothing},
		{"fs-deleted-data", "an AWS key in UTF-16 in a gap", func(d *Disk) { d.Write(swapStart+swapSize+12345, "\x7fELF"+Wide(Key())) }, func(d *Disk) { d.Write(swapStart+swapSize+12345, "\x7fELF"+Wide("no key at all")) }},
		{"fs-deleted-data", "a private key behind the partitions", func(d *Disk) { d.Write(500*mib, PEM("RSA PRIVATE KEY")) }, func(d *Disk) { d.Write(500*mib, PEM("CERTIFICATE")) }},
		{"fs-deleted-data", "a secret of the build in a file's block", func(d *Disk) { d.Write(d.fileBlock("/srv/big"), Needle) }, func(d *Disk) { d.Write(d.fileBlock("/srv/big"), Needle[1:]) }},
		{"fs-swap-content", "pages in a swap area", func(d *Disk) { d.Write(swapStart+2*mib, "a page") }, nothing},
		{"fs-swap-content", "a hibernated system", func(d *Disk) { d.Write(swapStart+4086, "S1SUSPEND\x00"); d.Write(swapStart+8192, "x") }, nothing},
		{"fs-encrypted", "LUKS", func(d *Disk) { d.Write(swapStart, "LUKS\xba\xbe\x00\x02") }, func(d *Disk) { d.Write(swapStart+swapSize, "LUKS") }},
		{"fs-clean-state", "not unmounted", func(d *Disk) { d.Write(rootStart+1024+58, "\x00\x00") }, nothing},
		{"fs-clean-state", "a journal to be replayed", func(d *Disk) { d.Debugfs("feature needs_recovery") }, nothing},
		{"fs-size-layout", "the backup is not at the end", func(d *Disk) { d.Err = os.Truncate(d.path, 2<<30) }, nothing},
		{"fs-size-layout", "a damaged table", func(d *Disk) { d.Write(512+20, "damage"); d.Write(1<<30-512+20, "damage") }, nothing},
		{"fs-size-layout", "the first table is damaged", func(d *Disk) { d.Write(512+20, "damage") }, nothing},
		{"boot-firmware-path", "no boot code", func(d *Disk) { d.Write(0, string(make([]byte, 440))) }, nothing},
	}
}

// fileBlock is where on the disk a file begins.
func (d *Disk) fileBlock(p string) int64 {
	out := strings.Split(strings.TrimSpace(d.Debugfs("bmap "+p+" 0")), "\n")
	block, err := strconv.ParseInt(strings.TrimSpace(out[len(out)-1]), 10, 64)
	d.Err = errors.Join(d.Err, err)
	return rootStart + block*d.blockSize()
}
