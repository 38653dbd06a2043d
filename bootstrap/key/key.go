// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package key installs the login key that was chosen when the instance was
// launched. It does so once per instance, so that a key that its owner removes
// stays removed.
package key

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/early"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Source is what this package needs of a cloud.Cloud.
type Source interface {
	InstanceID(ctx context.Context) (string, error)
	LoginKey(ctx context.Context) (string, error)
}

// Result says what was done.
type Result struct {
	// InstanceID is the instance that was asked about; empty if it is unknown.
	InstanceID string
	// Skipped says why there is nothing to do; empty otherwise.
	Skipped string
	// Changed lists what is different now.
	Changed []string
}

// ErrUnsafe means that the account's .ssh folder or key file is not what it
// should be; writing there as root could change something else.
var ErrUnsafe = errors.New("refused to write the login key")

// MarkerPath names, below root, the instance whose key was installed.
func MarkerPath(root string) string {
	return filepath.Join(root, "var/lib/rightscale/login-key-instance")
}

// UserFile is the hint file with the name of the account for the login key.
const UserFile = "/etc/rightscale.d/login-user"

// Install puts the login key into authorized_keys of root, or of the account
// that UserFile names.
func Install(ctx context.Context, root string, src Source) (Result, error) {
	if why := early.CloudInit(root); why != "" {
		return Result{Skipped: why}, nil
	}
	id, err := src.InstanceID(ctx)
	if nothing(err) {
		return Result{Skipped: "the cloud names no instance: " + err.Error()}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("read instance id: %w", err)
	}
	if done, err := os.ReadFile(MarkerPath(root)); err == nil && string(bytes.TrimSpace(done)) == id {
		return Result{InstanceID: id, Skipped: "done before on instance " + id}, nil
	}
	text, err := src.LoginKey(ctx)
	if err != nil && !nothing(err) {
		return Result{}, fmt.Errorf("read login key: %w", err)
	}
	res := Result{InstanceID: id}
	if err == nil {
		if res.Changed, err = install(root, text); err != nil {
			return res, err
		}
	} else {
		res.Skipped = "no login key was chosen at launch"
	}
	return res, atomicfile.WriteMkdir(MarkerPath(root), []byte(id+"\n"), 0o600, 0o755)
}

// nothing says that the cloud will never have an answer.
func nothing(err error) bool {
	return errors.Is(err, cloud.ErrAbsent) || errors.Is(err, cloud.ErrDenied)
}

func install(root, text string) ([]string, error) {
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	who, err := findAccount(root)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, who.home, ".ssh")
	if err := folder(dir, who); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "authorized_keys")
	have, err := regular(path)
	if err != nil {
		return nil, err
	}
	content, added := merge(have, keys)
	if added > 0 {
		if err := atomicfile.Write(path, content, 0o600); err != nil {
			return nil, err
		}
	}
	// Also when nothing was added: an earlier run may have been killed here.
	if err := own(path, who); err != nil {
		return nil, err
	}
	if added == 0 {
		return nil, nil
	}
	return []string{fmt.Sprintf("%d login key(s) of account %s", added, who.name)}, nil
}

// parse checks every line: what is no public key never reaches the file.
func parse(text string) ([]string, error) {
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		_, _, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			return nil, fmt.Errorf("login key of the metadata service is no OpenSSH public key: %w", err)
		}
		if len(options) > 0 {
			return nil, errors.New("login key of the metadata service carries options, which a public key has not")
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, errors.New("login key of the metadata service is empty")
	}
	return keys, nil
}

// merge appends the keys that are not there yet, whatever their comment.
func merge(have []byte, keys []string) (content []byte, added int) {
	present := map[string]bool{}
	for line := range bytes.Lines(have) {
		if k, _, _, _, err := ssh.ParseAuthorizedKey(line); err == nil {
			present[string(k.Marshal())] = true
		}
	}
	content = have
	if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(content, '\n')
	}
	for _, line := range keys {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || present[string(k.Marshal())] {
			continue
		}
		present[string(k.Marshal())] = true
		content = append(append(content, line...), '\n')
		added++
	}
	return content, added
}

// regular reads a plain file; one that is not there is empty.
func regular(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no plain file", ErrUnsafe, path)
	}
	return os.ReadFile(path)
}

// folder makes .ssh with mode 0700, owned by the account.
func folder(dir string, who account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the folder for the login key: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is no folder", ErrUnsafe, dir)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	return own(dir, who)
}
