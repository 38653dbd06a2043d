// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-getter/v2"
	"github.com/hashicorp/packer-plugin-sdk/filelock"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// readLimit bounds one download: disks are large, and lines are slow.
const readLimit = 6 * time.Hour

// client fetches local files, in place, and http(s) URLs. A broken download goes
// on where it was.
//
// The SDK's download step has clients of Git, SMB, S3 and GCS too; they would be
// more than a third of what this plugin links.
func client() *getter.Client {
	return &getter.Client{
		DisableSymlinks: true,
		Getters: []getter.Getter{
			&getter.HttpGetter{Netrc: true, XTerraformGetDisabled: true, HeadFirstTimeout: time.Minute, ReadTimeout: readLimit},
			new(getter.FileGetter),
		},
	}
}

// fetch downloads the input, or uses a local file in place, and checks its
// checksum.
func (f *flow) fetch(ctx context.Context, j *step.Job) error {
	var failed []error
	for _, u := range f.config.inputs() {
		j.UI.Say("Disk: " + u)
		path, err := f.config.fetchOne(ctx, u, j.UI)
		if err == nil {
			keyInput.Put(j.State, path)
			keySource.Put(j.State, u)
			return nil
		}
		failed = append(failed, fmt.Errorf("iso_url: %s: %w", u, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(failed) == 0 {
		return errors.New("iso_url: there is nothing to get")
	}
	return errors.Join(failed...)
}

// fetchOne returns the path of the disk at a URL.
func (c *Config) fetchOne(ctx context.Context, u string, progress getter.ProgressTracker) (string, error) {
	target, err := c.target(u)
	if err != nil {
		return "", err
	}
	lock := filelock.New(target + ".lock") // builds side by side download once
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	req, err := request(u, c.ISOChecksum)
	if err != nil {
		return "", err
	}
	req.Dst, req.GetMode, req.Inplace, req.ProgressListener = target, getter.ModeFile, true, progress
	got, err := client().Get(ctx, req)
	if wrong := (*getter.ChecksumError)(nil); errors.As(err, &wrong) {
		return "", errors.Join(err, os.RemoveAll(target)) // of no use to the next build either
	}
	if err != nil {
		return "", err
	}
	return got.Dst, nil
}

// target is where a download is kept: in Packer's cache under the name of its
// checksum, unless iso_target_path says otherwise.
func (c *Config) target(u string) (string, error) {
	if c.ISOTargetPath != "" {
		return filepath.Abs(c.ISOTargetPath)
	}
	name := c.ISOChecksum
	if name == "none" {
		name = u
	}
	sum := sha256.Sum256([]byte(name))
	return packersdk.CachePath(hex.EncodeToString(sum[:]) + ".disk")
}

// request asks for a URL whose content has a checksum.
func request(u, checksum string) (*getter.Request, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if path, local := localPath(u); local {
		if path, err = filepath.Abs(path); err != nil {
			return nil, err
		}
		u = (&url.URL{Scheme: "file", Path: path}).String()
	}
	parsed, err := url.Parse(u)
	if err != nil {
		return nil, err
	}
	if checksum != "none" {
		q := parsed.Query()
		q.Set("checksum", checksum)
		parsed.RawQuery = q.Encode()
	}
	return &getter.Request{Src: parsed.String(), Pwd: here}, nil
}

// checksumOf reads the checksum of a disk from the file that "file:…" names, as
// "type:digits".
func checksumOf(ctx context.Context, u, file string) (string, error) {
	req, err := request(u, file)
	if err != nil {
		return "", err
	}
	sum, err := client().GetChecksum(ctx, req)
	if err != nil {
		return "", err
	}
	return sum.String(), nil
}
