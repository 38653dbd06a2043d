// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/spool"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// spoolMarker says what the spool was made of, so that a later boot of the same
// instance need not read its whole metadata again. It is written last: without
// it, or when anything in it differs, the spool is made anew.
type spoolMarker struct {
	// Instance, Cloud and Fingerprint are the cloud's word.
	Instance    string `json:"instance"`
	Cloud       string `json:"cloud"`
	Fingerprint string `json:"fingerprint"`
	// UserData and Spool are digests: of what was received, and of the files.
	UserData string `json:"user_data"`
	Spool    string `json:"spool"`
	// Version is bootstrap's: another one may write other files.
	Version string `json:"version"`
	// Name and Address are the cloud's for this machine.
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

const markerFile = "/var/lib/rightscale/spool.json"

// fillSpool caches user-data and metadata and returns what was written into the
// marker.
func (a *Agent) fillSpool(ctx context.Context, c cloud.Cloud, data userdata.Data) (spoolMarker, bool, error) {
	before := a.loadMarker()
	now := spoolMarker{Cloud: c.Name(), UserData: digest(data.Raw), Version: version.String()}
	var err error
	if now.Instance, err = c.InstanceID(ctx); err != nil {
		now.Instance = "" // rightboot has judged that
	}
	if before.Instance != now.Instance {
		before = spoolMarker{}
	}
	if now.Fingerprint, err = c.Fingerprint(ctx, before.Fingerprint); err != nil {
		return now, false, err
	}
	now.Name, now.Address = before.Name, before.Address
	now.Spool = before.Spool
	if now == before && now.Instance != "" && now.Fingerprint != "" && spool.Digest(a.Root) == now.Spool {
		return now, false, nil
	}
	tree, err := c.MetaData(ctx)
	if err != nil {
		return now, false, err
	}
	changed, err := spool.Write(a.Root, spool.Input{UserData: data, MetaData: tree, EnvPrefix: c.EnvPrefix()})
	if err != nil {
		return now, false, err
	}
	now.Name, now.Address = cloudName(tree)
	now.Spool = spool.Digest(a.Root)
	text, err := json.Marshal(now)
	if err != nil {
		return now, changed, err
	}
	if err := os.MkdirAll(filepath.Dir(a.path(markerFile)), 0o755); err != nil {
		return now, changed, err
	}
	return now, changed, atomicfile.WriteLazily(a.path(markerFile), append(text, '\n'), 0o600)
}

func (a *Agent) loadMarker() spoolMarker {
	var m spoolMarker
	if text, err := os.ReadFile(a.path(markerFile)); err != nil || json.Unmarshal(text, &m) != nil {
		return spoolMarker{}
	}
	return m
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
