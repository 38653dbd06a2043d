// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package key_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/key"
)

type source struct {
	id, key       string
	idErr, keyErr error
}

func (s source) InstanceID(context.Context) (string, error) { return s.id, s.idErr }
func (s source) LoginKey(context.Context) (string, error)   { return s.key, s.keyErr }

func publicKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	k, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

func machine(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/rightscale.d", "root", "home/admin"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	passwd := "root:x:0:0:root:/root:/bin/sh\nadmin:x:1234:1235::/home/admin:/bin/sh\nodd:x:x:1:::\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644))
	return root
}

func keys(t *testing.T, root, home string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, home, ".ssh/authorized_keys"))
	require.NoError(t, err)
	return string(text)
}

func TestInstall(t *testing.T) {
	root, ctx := machine(t), context.Background()
	if os.Getuid() != 0 {
		t.Skip("needs root: files are given to root")
	}
	one, two := publicKey(t), publicKey(t)
	path := filepath.Join(root, "root/.ssh/authorized_keys")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("# mine\n"+two+" other comment"), 0o644))

	res, err := key.Install(ctx, root, source{id: "i-1", key: one + " demo\n" + two + " demo\n"})
	require.NoError(t, err)
	require.Equal(t, "i-1", res.InstanceID)
	require.Equal(t, []string{"1 login key(s) of account root"}, res.Changed)
	require.Equal(t, "# mine\n"+two+" other comment\n"+one+" demo\n", keys(t, root, "root"), "no duplicates")
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), p)
	}

	// Once per instance: what its owner removes stays removed.
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	res, err = key.Install(ctx, root, source{id: "i-1", key: one})
	require.NoError(t, err)
	require.Contains(t, res.Skipped, "i-1")
	require.Empty(t, keys(t, root, "root"))

	// A copy of the disk is another instance.
	_, err = key.Install(ctx, root, source{id: "i-2", key: one})
	require.NoError(t, err)
	require.Equal(t, one+"\n", keys(t, root, "root"))
}

func TestDefaultUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: files are given to the account")
	}
	root, ctx := machine(t), context.Background()
	user := filepath.Join(root, key.UserFile)
	require.NoError(t, os.WriteFile(user, []byte("admin\n"), 0o644))
	_, err := key.Install(ctx, root, source{id: "i-1", key: publicKey(t)})
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(root, "root/.ssh/authorized_keys"))
	for _, p := range []string{".ssh", ".ssh/authorized_keys"} {
		requireOwner(t, filepath.Join(root, "home/admin", p), 1234, 1235)
	}
	for _, name := range []string{"nobody-here", "odd"} {
		require.NoError(t, os.WriteFile(user, []byte(name), 0o644))
		_, err = key.Install(ctx, root, source{id: "i-3", key: publicKey(t)})
		require.ErrorContains(t, err, name)
	}
}

func TestNothingToInstall(t *testing.T) {
	ctx := context.Background()
	for name, src := range map[string]source{
		"no key":       {id: "i-1", keyErr: cloud.ErrAbsent},
		"no id":        {idErr: cloud.ErrAbsent},
		"switched off": {idErr: cloud.ErrDenied},
	} {
		root := machine(t)
		res, err := key.Install(ctx, root, src)
		require.NoError(t, err, name)
		require.NotEmpty(t, res.Skipped, name)
		require.NoDirExists(t, filepath.Join(root, "root/.ssh"), name)
	}
}

func TestRefuses(t *testing.T) {
	ctx := context.Background()
	for name, text := range map[string]string{
		"text":    "<html>404</html>",
		"options": `command="/bin/sh" ` + publicKey(t),
		"empty":   "\n# nothing\n",
		"second":  publicKey(t) + "\nssh-rsa nonsense",
	} {
		root := machine(t)
		_, err := key.Install(ctx, root, source{id: "i-1", key: text})
		require.Error(t, err, name)
		require.NoFileExists(t, filepath.Join(root, "root/.ssh/authorized_keys"), name)
		require.NoFileExists(t, key.MarkerPath(root), name)
	}
	root := machine(t)
	require.NoError(t, os.Symlink("/etc", filepath.Join(root, "root/.ssh")))
	_, err := key.Install(ctx, root, source{id: "i-1", key: publicKey(t)})
	require.ErrorIs(t, err, key.ErrUnsafe)
	root = machine(t)
	require.NoError(t, os.Mkdir(filepath.Join(root, "root/.ssh"), 0o700))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(root, "root/.ssh/authorized_keys")))
	_, err = key.Install(ctx, root, source{id: "i-1", key: publicKey(t)})
	require.ErrorIs(t, err, key.ErrUnsafe)
}
