// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/clock"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/session"
)

// Downloader fetches the content of an attachment; *session.Session is one.
type Downloader interface {
	Download(ctx context.Context, a wire.Attachment, reposeServers []string, w io.Writer) (int64, error)
}

// ErrDigest says that an attachment is not what the bundle promised.
var ErrDigest = errors.New("the content does not have the digest of the bundle")

// digestTries is how often a content with a wrong digest is fetched again.
const digestTries = 2

// cache keeps attachments under the name of their digest.
type cache struct {
	dir   string
	from  Downloader
	clock clock.Clock
}

// fetch returns the file with the attachment's content, from the cache if it
// is there and still intact.
func (c cache) fetch(ctx context.Context, a wire.Attachment, servers []string) (string, error) {
	if err := checkName(a.FileName); err != nil {
		return "", err
	}
	digest := strings.ToLower(a.Digest)
	if _, err := newHash(digest); err != nil {
		return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
	}
	file := filepath.Join(c.dir, digest)
	if intact(file, digest) {
		return file, nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
	}
	tries, wrong := map[session.Class]int{}, 0
	for {
		err := c.download(ctx, a, servers, digest, file)
		if err == nil {
			return file, nil
		}
		if errors.Is(err, ErrDigest) {
			if wrong++; wrong > digestTries {
				return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
			}
			continue
		}
		class := session.ClassOf(err)
		schedule, ok := session.CallPolicy()[class]
		if !ok || !schedule.Allows(tries[class]) || ctx.Err() != nil {
			return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
		}
		if err := c.clock.Sleep(ctx, schedule.Wait(tries[class], 0.5, 0)); err != nil {
			return "", fmt.Errorf("attachment %s: %w", a.FileName, err)
		}
		tries[class]++
	}
}

// download writes the content to file; the digest is checked while it
// streams, and the file gets its name only when it is right.
func (c cache) download(ctx context.Context, a wire.Attachment, servers []string, digest, file string) (err error) {
	sum, err := newHash(digest)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(c.dir, ".download-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, derr := c.from.Download(ctx, a, servers, io.MultiWriter(tmp, sum))
	// Executable, because an attachment may be a program.
	if err := errors.Join(derr, tmp.Chmod(0o700), tmp.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%w: got %s, want %s", ErrDigest, got, digest)
	}
	return os.Rename(tmp.Name(), file)
}

func newHash(digest string) (hash.Hash, error) {
	if _, err := hex.DecodeString(digest); err == nil {
		switch len(digest) {
		case hex.EncodedLen(sha256.Size):
			return sha256.New(), nil
		case hex.EncodedLen(md5.Size):
			return md5.New(), nil // older platforms send MD5 digests
		}
	}
	return nil, fmt.Errorf("digest %q is neither SHA-256 nor MD5 in hex", digest)
}

func intact(file, digest string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	sum, err := newHash(digest)
	if err != nil {
		return false
	}
	_, err = io.Copy(sum, f)
	return err == nil && hex.EncodeToString(sum.Sum(nil)) == digest
}

// checkName refuses names that would leave the script's directory or hide the
// script.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, scriptPrefix) {
		return fmt.Errorf("attachment %q: a file name without directories is needed", name)
	}
	return nil
}
