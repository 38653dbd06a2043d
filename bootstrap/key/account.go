// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package key

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is a line of /etc/passwd.
type account struct {
	name, home string
	uid, gid   int
}

// findAccount reads the files itself: a static program has no NSS, and the
// machine may be mounted somewhere else.
func findAccount(root string) (account, error) {
	name := "root"
	text, err := os.ReadFile(filepath.Join(root, UserFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return account{}, err
	}
	if n := strings.TrimSpace(string(text)); n != "" {
		name = n
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		return account{}, err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || f[0] != name {
			continue
		}
		uid, uidErr := strconv.Atoi(f[2])
		gid, gidErr := strconv.Atoi(f[3])
		if err := errors.Join(uidErr, gidErr); err != nil || !filepath.IsAbs(f[5]) {
			return account{}, fmt.Errorf("account %s in /etc/passwd is not usable: %q", name, strings.TrimSpace(line))
		}
		return account{name, f[5], uid, gid}, nil
	}
	return account{}, fmt.Errorf("there is no account %q for the login key in /etc/passwd; correct %s", name, UserFile)
}

// own gives a path to the account, if it is not its own already.
func own(path string, who account) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == who.uid && int(st.Gid) == who.gid {
		return nil
	}
	return os.Lchown(path, who.uid, who.gid)
}
