// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package login makes the accounts of a login policy: the people whom the
// platform lets log in to this machine. It touches only accounts that it has
// made itself.
package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Manager applies policies.
type Manager struct {
	Root     paths.Root
	Commands run.Runner
	Log      *slog.Logger
}

// userName is what the platform promises; anything else could be an option.
var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// oneKey is one line of an authorized_keys file without options.
var oneKey = regexp.MustCompile(`^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^\x00-\x1f\x7f]*)?$`)

// Apply makes the machine's accounts those of the policy at the given time, and
// keeps the policy for Again. People who are not in it lose their keys and their
// right to sudo; their accounts and files stay.
func (m Manager) Apply(ctx context.Context, p wire.LoginPolicy, now time.Time) error {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteMkdir(m.Root.LoginPolicy(), append(text, '\n'), 0o600, 0o700); err != nil {
		return err
	}
	return m.apply(ctx, p, now)
}

// Again applies the policy kept last, so that access ends when its time is
// over. Without one, nothing happens.
func (m Manager) Again(ctx context.Context, now time.Time) error {
	text, err := os.ReadFile(m.Root.LoginPolicy())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p wire.LoginPolicy
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read %s: %w", m.Root.LoginPolicy(), err)
	}
	return m.apply(ctx, p, now)
}

// Off takes everybody's access away and forgets the policy.
func (m Manager) Off(ctx context.Context) error {
	err := m.apply(ctx, wire.LoginPolicy{}, time.Time{})
	if rerr := os.Remove(m.Root.LoginPolicy()); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

func (m Manager) apply(ctx context.Context, p wire.LoginPolicy, now time.Time) error {
	ours, err := m.ours()
	if err != nil {
		return err
	}
	var problems []error
	keep := map[string]bool{}
	for _, u := range p.Users {
		if u.ExpiresAt > 0 && u.ExpiresAt <= now.Unix() {
			continue
		}
		if err := m.let(ctx, u, &ours); err != nil {
			problems = append(problems, fmt.Errorf("login user %q: %w", u.Username, err))
			continue
		}
		keep[u.Username] = true
	}
	for _, name := range ours {
		if !keep[name] {
			problems = append(problems, m.shutOut(name))
		}
	}
	return errors.Join(problems...)
}

// let gives one person access.
func (m Manager) let(ctx context.Context, u wire.LoginUser, ours *[]string) error {
	if !userName.MatchString(u.Username) || u.Username == "root" {
		return errors.New("this cannot be the name of an account that the agent manages")
	}
	var keys bytes.Buffer
	for _, key := range u.PublicKeys {
		if !oneKey.MatchString(key) {
			return errors.New("a public key has options or is damaged")
		}
		keys.WriteString(key + "\n")
	}
	account, exists, err := m.account(u.Username)
	if err != nil {
		return err
	}
	if exists && !slices.Contains(*ours, u.Username) {
		return errors.New("the machine has an account of this name that the agent has not made; it is left alone")
	}
	if !slices.Contains(*ours, u.Username) {
		// Noted first: an account that was made is never taken for somebody else's.
		*ours = append(*ours, u.Username)
		if err := m.note(*ours); err != nil {
			return err
		}
	}
	if !exists {
		// Password "*": there is none, yet sshd does not take the account as locked.
		if _, err := m.Commands.Run(ctx, "useradd", "--create-home", "--user-group", "--password", "*", "--shell", "/bin/sh", "--comment", "managed by RightLink", u.Username); err != nil {
			return err
		}
		if account, exists, err = m.account(u.Username); err != nil || !exists {
			return errors.Join(err, errors.New("useradd made no account"))
		}
		m.Log.Info("made an account", "user", u.Username)
	}
	if err := m.writeKeys(account, keys.Bytes()); err != nil {
		return err
	}
	return m.sudo(u.Username, u.Superuser)
}

func (m Manager) shutOut(name string) error {
	account, exists, err := m.account(name)
	if err != nil || !exists {
		return err
	}
	return errors.Join(m.writeKeys(account, nil), m.sudo(name, false))
}

// account is a line of passwd.
type account struct {
	home     string
	uid, gid int
}

func (m Manager) account(name string) (a account, exists bool, err error) {
	text, err := os.ReadFile(m.Root.Join("etc/passwd"))
	if err != nil {
		return a, false, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || f[0] != name {
			continue
		}
		uid, err1 := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		return account{home: f[5], uid: uid, gid: gid}, true, errors.Join(err1, err2)
	}
	return a, false, nil
}

// writeKeys writes authorized_keys within the home directory and nowhere else,
// whatever links its owner has put there.
func (m Manager) writeKeys(a account, keys []byte) error {
	home, err := os.OpenRoot(m.Root.Join(a.home))
	if errors.Is(err, fs.ErrNotExist) && keys == nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	const dir, file, next = ".ssh", ".ssh/authorized_keys", ".ssh/authorized_keys.rightlink"
	if keys == nil {
		if err := home.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if old, err := home.ReadFile(file); err == nil && bytes.Equal(old, keys) {
		return nil
	}
	if err := home.Mkdir(dir, 0o700); err == nil {
		err = home.Lchown(dir, a.uid, a.gid)
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := home.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := home.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(keys)
	err = errors.Join(err, f.Chown(a.uid, a.gid), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return home.Rename(next, file)
}

// sudo writes or removes the permission to become root.
func (m Manager) sudo(name string, may bool) error {
	path := m.Root.Join("etc/sudoers.d/90-rightlink-" + name)
	if !may {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		m.Log.Warn("sudo is not installed; a superuser of the login policy is an ordinary one", "user", name)
		return nil
	}
	return atomicfile.Write(path, []byte(name+" ALL=(ALL) NOPASSWD:ALL\n"), 0o440)
}

func (m Manager) ours() (names []string, err error) {
	text, err := os.ReadFile(m.Root.LoginUsers())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return names, json.Unmarshal(text, &names)
}

func (m Manager) note(names []string) error {
	text, err := json.Marshal(names)
	if err != nil {
		return err
	}
	return atomicfile.WriteMkdir(m.Root.LoginUsers(), append(text, '\n'), 0o600, 0o700)
}
