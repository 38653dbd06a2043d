// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
)

// vsphere is VMware: the host answers questions about guestinfo variables
// through VMware's tools, without a network.
type vsphere struct {
	o   Options
	run run.Runner
}

func newVSphere(o Options) Cloud {
	r := o.Run
	if r == nil {
		r = run.Exec{}
	}
	return vsphere{o, r}
}

func recogniseVSphere(h Hints) bool { return strings.HasPrefix(h.SysVendor, "VMware") }

func (vsphere) Name() string      { return "vsphere" }
func (vsphere) EnvPrefix() string { return "VS_" }
func (vsphere) Requests() int64   { return 0 }

// Fingerprint: the variables are few and near.
func (vsphere) Fingerprint(context.Context, string) (string, error) { return "", nil }

// discovering ends a value that the platform has not filled in yet.
const (
	discovering     = "=discovering"
	discoverPause   = 5 * time.Second
	discoverTimeout = 15 * time.Minute
)

// info asks for one variable; ErrAbsent when the host has none of that name. A
// value that is not ready yet is waited for.
func (c vsphere) info(ctx context.Context, name string) (string, error) {
	tool := ""
	for _, t := range []string{"usr/bin/vmware-rpctool", "usr/bin/vmtoolsd", "usr/sbin/vmtoolsd"} {
		if info, err := os.Stat(filepath.Join(c.o.Root, t)); err == nil && info.Mode().IsRegular() {
			tool = filepath.Join(c.o.Root, t)
			break
		}
	}
	if tool == "" {
		return "", fmt.Errorf("guestinfo.%s (VMware's tools are not installed): %w", name, ErrAbsent)
	}
	question := "info-get guestinfo." + name
	args := []string{question}
	if strings.HasSuffix(tool, "vmtoolsd") {
		args = []string{"--cmd", question}
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	for {
		out, err := c.run.Run(ctx, tool, args...)
		if err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", fmt.Errorf("guestinfo.%s: %w: %w", name, ErrAbsent, err) // "No value found" ends with 1
		}
		if !strings.HasSuffix(strings.TrimSpace(out), discovering) {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("guestinfo.%s is still being discovered: %w", name, ctx.Err())
		case <-time.After(discoverPause):
		}
	}
}

// value is a variable with its encoding (guestinfo.NAME.encoding) undone.
func (c vsphere) value(ctx context.Context, name string) ([]byte, error) {
	text, err := c.info(ctx, name)
	if err != nil {
		return nil, err
	}
	encoding, err := c.info(ctx, name+".encoding")
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	raw := []byte(text)
	if e := strings.TrimSpace(encoding); strings.Contains(e, "base64") || strings.Contains(e, "b64") {
		raw = decodeBase64(text)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, fmt.Errorf("guestinfo.%s is blank: %w", name, ErrAbsent)
	}
	return raw, nil
}

func (c vsphere) UserData(ctx context.Context) ([]byte, error) { return c.value(ctx, "userdata") }

// MetaData reads the original's key=value pairs, or YAML and JSON as
// cloud-init has them.
func (c vsphere) MetaData(ctx context.Context) (*Tree, error) {
	raw, err := c.value(ctx, "metadata")
	if errors.Is(err, ErrAbsent) {
		return &Tree{Dir: true}, nil
	}
	if err != nil {
		return nil, err
	}
	return textTree(unzip(raw)), nil
}

// InstanceID is the metadata's, else the machine's UUID, which a copy changes.
func (c vsphere) InstanceID(ctx context.Context) (string, error) {
	t, err := c.MetaData(ctx)
	if err != nil {
		return "", err
	}
	if id := instanceID(t); id != "" {
		return id, nil
	}
	if id := (none{root: c.o.Root}).hardwareID(); id != "" {
		return id, nil
	}
	return "", ErrAbsent
}

// LoginKey is VS_SSH_PUBLIC_KEY of the original, or a key in the metadata.
func (c vsphere) LoginKey(ctx context.Context) (string, error) {
	if raw, err := c.UserData(ctx); err == nil {
		if key, ok := userdata.Parse(raw).Get("VS_SSH_PUBLIC_KEY"); ok && key != "" {
			return key, nil
		}
	}
	t, err := c.MetaData(ctx)
	if err != nil {
		return "", err
	}
	return loginKey(t)
}

// unzip undoes gzip, if there is any.
func unzip(raw []byte) []byte {
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return raw
	}
	out, err := io.ReadAll(io.LimitReader(zr, maxInput))
	if err != nil {
		return raw
	}
	return out
}
