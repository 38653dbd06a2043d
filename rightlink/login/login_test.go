// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package login

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// machine is a root directory whose useradd adds to its passwd.
type machine struct {
	root paths.Root
	ran  []string
}

func (m *machine) Run(_ context.Context, name string, args ...string) (string, error) {
	m.ran = append(m.ran, name+" "+strings.Join(args, " "))
	user := args[len(args)-1]
	return "", m.add(user)
}

func (m *machine) add(user string) error {
	f, err := os.OpenFile(m.root.Join("etc/passwd"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	fmt.Fprintf(f, "%s:x:%d:%d::/home/%s:/bin/sh\n", user, os.Getuid(), os.Getgid(), user)
	if err := f.Close(); err != nil {
		return err
	}
	return os.MkdirAll(m.root.Join("home", user), 0o755)
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtu5pZxkVxkl6SKxsfrmi4HlXBhbnqvAQ/hRk1Bc4Vj ann@home"

func TestLogins(t *testing.T) {
	root := paths.Root(t.TempDir())
	require.NoError(t, os.MkdirAll(root.Join("etc/sudoers.d"), 0o755))
	fake := &machine{root: root}
	require.NoError(t, fake.add("admin"))
	m := Manager{Root: root, Commands: fake, Log: slog.New(slog.DiscardHandler)}
	now := time.Now()
	keys := func(user string) string {
		text, _ := os.ReadFile(root.Join("home", user, ".ssh/authorized_keys"))
		return string(text)
	}
	sudo := root.Join("etc/sudoers.d/90-rightlink-ann")
	policy := wire.LoginPolicy{Users: []wire.LoginUser{
		{Username: "ann", PublicKeys: []string{key}, Superuser: true},
		{Username: "bob", PublicKeys: []string{key, strings.Replace(key, "ann@home", "b", 1)}, ExpiresAt: now.Add(time.Hour).Unix()},
		{Username: "admin", PublicKeys: []string{key}},
		{Username: "root", PublicKeys: []string{key}},
		{Username: "-x", PublicKeys: []string{key}},
		{Username: "eve", PublicKeys: []string{"command=\"sh\" " + key}},
		{Username: "mal", PublicKeys: []string{key + "\nssh-rsa AAAA x"}},
	}}
	err := m.Apply(t.Context(), policy, now)
	for _, name := range []string{"admin", "root", "-x", "eve", "mal"} {
		require.ErrorContains(t, err, `login user "`+name+`"`)
		require.Empty(t, keys(name), "%s gets nothing", name)
	}
	require.Equal(t, key+"\n", keys("ann"))
	require.Equal(t, 2, strings.Count(keys("bob"), "\n"))
	text, err := os.ReadFile(sudo)
	require.NoError(t, err)
	require.Equal(t, "ann ALL=(ALL) NOPASSWD:ALL\n", string(text))
	require.NoFileExists(t, root.Join("etc/sudoers.d/90-rightlink-bob"))
	require.Len(t, fake.ran, 2, "one useradd each")

	// Time goes by: bob's access ends by itself.
	_ = m.Again(t.Context(), now.Add(2*time.Hour))
	require.Empty(t, keys("bob"))
	require.Equal(t, key+"\n", keys("ann"))
	require.Len(t, fake.ran, 2)

	// No superuser any more; then nobody.
	policy.Users = policy.Users[:1]
	policy.Users[0].Superuser = false
	require.NoError(t, m.Apply(t.Context(), policy, now))
	require.NoFileExists(t, sudo)
	require.NoError(t, m.Off(t.Context()))
	require.Empty(t, keys("ann"))
	require.NoError(t, m.Again(t.Context(), now), "no policy is left")
}

// Links in a home directory lead nowhere.
func TestLinks(t *testing.T) {
	root := paths.Root(t.TempDir())
	fake := &machine{root: root}
	require.NoError(t, os.MkdirAll(root.Join("etc"), 0o755))
	require.NoError(t, fake.add("admin"))
	m := Manager{Root: root, Commands: fake, Log: slog.New(slog.DiscardHandler)}
	policy := wire.LoginPolicy{Users: []wire.LoginUser{{Username: "ann", PublicKeys: []string{key}}}}
	require.NoError(t, m.Apply(t.Context(), policy, time.Now()))
	victim := t.TempDir()
	ssh := root.Join("home/ann/.ssh")
	require.NoError(t, os.RemoveAll(ssh))
	require.NoError(t, os.Symlink(victim, ssh))
	require.Error(t, m.Apply(t.Context(), policy, time.Now()))
	left, err := os.ReadDir(victim)
	require.NoError(t, err)
	require.Empty(t, left)
}
