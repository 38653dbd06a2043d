// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package early

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

const sshDir = "etc/ssh"

// rsaBits is what ssh-keygen uses today.
const rsaBits = 3072

// hostKeyKinds are the kinds that every sshd of the last ten years looks for.
func hostKeyKinds() []string { return []string{"ed25519", "ecdsa", "rsa"} }

// HostKeys makes the host keys that an installed ssh server does not have and
// returns their paths. The private key is written last and whole, so that a key
// that is there is a key that is complete.
func HostKeys(root string) ([]string, error) {
	dir := filepath.Join(root, sshDir)
	if !sshServer(root) {
		return nil, nil
	}
	var made []string
	var errs []error
	for _, kind := range hostKeyKinds() {
		path := filepath.Join(dir, "ssh_host_"+kind+"_key")
		info, err := os.Stat(path)
		if err == nil && info.Size() > 0 {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		if err := makeHostKey(kind, path, hostname(root)); err != nil {
			errs = append(errs, fmt.Errorf("make host key %s: %w", kind, err))
			continue
		}
		made = append(made, "/"+sshDir+"/"+filepath.Base(path))
	}
	return made, errors.Join(errs...)
}

// sshServer says that OpenSSH's server is installed; its configuration alone
// does not count, a client package may own the folder.
func sshServer(root string) bool {
	return fileExists(root, "usr/sbin/sshd", "usr/local/sbin/sshd", "usr/bin/sshd") && fileExists(root, sshDir)
}

func hostname(root string) string {
	text, _ := os.ReadFile(filepath.Join(root, "etc/hostname")) // only a comment in the key
	if name := strings.TrimSpace(string(text)); name != "" && !strings.ContainsAny(name, " \t\n") {
		return name
	}
	return "localhost"
}

func makeHostKey(kind, path, host string) error {
	private, block, err := newKey(kind)
	if err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " root@" + host + "\n"
	if err := atomicfile.Write(path+".pub", []byte(line), 0o644); err != nil {
		return err
	}
	return atomicfile.Write(path, pem.EncodeToMemory(block), 0o600)
}

// newKey makes a key in the oldest form that can hold it, so that old servers
// read it too: ed25519 has only OpenSSH's own form.
func newKey(kind string) (crypto.Signer, *pem.Block, error) {
	switch kind {
	case "rsa":
		key, err := rsa.GenerateKey(rand.Reader, rsaBits)
		if err != nil {
			return nil, nil, err
		}
		return key, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}, nil
	case "ecdsa":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		der, err := x509.MarshalECPrivateKey(key)
		return key, &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}, err
	default:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		return key, block, err
	}
}
