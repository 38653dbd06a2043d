// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const nonblock = unix.O_NONBLOCK

func factsOf(info fs.FileInfo) Facts {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Facts{}
	}
	return Facts{UID: st.Uid, GID: st.Gid, Links: uint64(st.Nlink), Dev: uint64(st.Dev), Ino: st.Ino, Allocated: st.Blocks * 512} //nolint:unconvert // other widths elsewhere
}

// FactsOf returns what a FileInfo of the tree says besides mode and size.
func FactsOf(info fs.FileInfo) Facts { return factsOf(info) }

// virtual reports whether a directory is on a file system that the kernel makes
// up, or that goes with the machine.
func virtual(f *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch int64(st.Type) { //nolint:unconvert // other widths elsewhere
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.TMPFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC,
		unix.CGROUP2_SUPER_MAGIC, unix.SECURITYFS_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.BPF_FS_MAGIC,
		unix.HUGETLBFS_MAGIC, unix.PSTOREFS_MAGIC, unix.EFIVARFS_MAGIC, unix.AUTOFS_SUPER_MAGIC, unix.BINFMTFS_MAGIC,
		unix.RAMFS_MAGIC, unix.NSFS_MAGIC, unix.SELINUX_MAGIC, 0x19800202 /* mqueue */, 0x65735543 /* fuse control */ :
		return true
	}
	return false
}

// alike gives a new file the owner and the security label of an old one.
func alike(f *os.File, t *Tree, real string, like fs.FileInfo) error {
	facts := factsOf(like)
	if err := f.Chown(int(facts.UID), int(facts.GID)); err != nil && os.Geteuid() == 0 {
		return err
	}
	old, err := t.root.Open(local(real))
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // only read
	buf := make([]byte, 1024)
	n, err := unix.Fgetxattr(int(old.Fd()), "security.selinux", buf)
	if err != nil || n <= 0 {
		return nil // no label
	}
	return unix.Fsetxattr(int(f.Fd()), "security.selinux", buf[:n], 0)
}

// Attributes returns the extended attributes of a file with their values.
func (e *Entry) Attributes() map[string][]byte {
	f, err := e.Open()
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	return AttributesOf(f)
}

// AttributesOf returns the extended attributes of an open file.
func AttributesOf(f *os.File) map[string][]byte {
	fd := int(f.Fd())
	list := make([]byte, 4096)
	n, err := unix.Flistxattr(fd, list)
	if err != nil || n <= 0 {
		return nil
	}
	out := map[string][]byte{}
	for start, i := 0, 0; i < n; i++ {
		if list[i] != 0 {
			continue
		}
		name := string(list[start:i])
		start = i + 1
		value := make([]byte, 64<<10)
		if m, err := unix.Fgetxattr(fd, name, value); err == nil {
			out[name] = value[:m]
		}
	}
	return out
}

// Free returns the bytes that are free, and all bytes, of the file system that
// the image is on.
func (t *Tree) Free() (free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Clean(t.Name()), &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// Date gives a path itself, not what a link leads to, a time of change and of
// access.
func (t *Tree) Date(p string, at time.Time) error {
	real, err := t.Parent(p)
	if err != nil {
		return err
	}
	dir, err := t.root.Open(local(path.Dir(real)))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	spec := unix.NsecToTimespec(at.UnixNano())
	name := path.Base(real)
	if real == "/" {
		name = "."
	}
	if err := unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{spec, spec}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set the time of", Path: p, Err: err}
	}
	return nil
}

// HasCapabilities reports whether a program gets capabilities when it is run.
func HasCapabilities(f *os.File) bool {
	var value [64]byte
	n, err := unix.Fgetxattr(int(f.Fd()), "security.capability", value[:])
	return err == nil && n > 0
}

// Virtual reports whether a directory lies on a file system of the kernel's, or
// in memory: nothing there is part of the image.
func (t *Tree) Virtual(p string) bool {
	real, err := t.Resolve(p)
	if err != nil {
		return false
	}
	f, err := t.root.OpenFile(local(real), os.O_RDONLY|nonblock, 0)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	root, err := t.root.Stat(".")
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && factsOf(info).Dev != factsOf(root).Dev && virtual(f)
}

// fitrim is the request FITRIM of linux/fs.h.
const fitrim = 0xc0185879

// Trim tells the disk below the image which blocks are free, so that they read
// as zero. errors.ErrUnsupported says that it cannot be told.
func (t *Tree) Trim() (trimmed int64, err error) {
	f, err := t.root.Open(".")
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return 0, os.NewSyscallError("syncfs", err)
	}
	span := struct{ start, length, least uint64 }{0, ^uint64(0), 0}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fitrim, uintptr(unsafe.Pointer(&span)))
	switch errno {
	case 0:
		return int64(span.length), nil
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.EPERM, unix.EINVAL, unix.ENOSYS:
		return 0, fmt.Errorf("%w: trim: %w", errors.ErrUnsupported, errno)
	default:
		return 0, os.NewSyscallError("trim", errno)
	}
}

// ZeroFree fills the free space with zeroes and frees it again. A file that is
// there alone counts as free meanwhile.
func (t *Tree) ZeroFree() (written int64, err error) {
	const name = ".rightimage-zero"
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4<<20)
	for err == nil {
		var n int
		n, err = f.Write(buf)
		written += int64(n)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = nil
	}
	return written, errors.Join(err, f.Sync(), f.Close(), t.root.Remove(name), t.sync())
}

func (t *Tree) sync() error {
	f, err := t.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	return unix.Syncfs(int(f.Fd()))
}
