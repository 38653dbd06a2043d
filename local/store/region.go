// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"path/filepath"
	"time"
)

// Global is the region of what AWS keeps for all regions at once, such as roles.
const Global = "aws-global"

// Region holds the records of one region. It is only used inside View and Update.
type Region struct {
	Name      string
	Snapshots *Table[Snapshot]
	Images    *Table[Image]
	Instances *Table[Instance]
	KeyPairs  *Table[KeyPair]
	Volumes   *Table[Volume]

	VPCs           *Table[VPC]
	Subnets        *Table[Subnet]
	SecurityGroups *Table[SecurityGroup]
	Gateways       *Table[InternetGateway]
	RouteTables    *Table[RouteTable]
	Templates      *Table[LaunchTemplate]
	Fleets         *Table[Fleet]

	Roles            *Table[Role]            // by name, in Global
	InstanceProfiles *Table[InstanceProfile] // by name, in Global

	Parameters *Table[Parameter] // by ParameterKey
	Buckets    *Table[Bucket]    // by name, in Global
	Objects    *Table[Object]    // by ObjectKey, in Global

	settings *Table[Settings]
	tables   []interface {
		Born(id string) (time.Time, bool)
	}
}

func loadRegion(dir, name string) (*Region, error) {
	r := &Region{Name: name}
	for _, load := range []func() error{
		table(r, dir, "snapshots", &r.Snapshots),
		table(r, dir, "images", &r.Images),
		table(r, dir, "instances", &r.Instances),
		table(r, dir, "keypairs", &r.KeyPairs),
		table(r, dir, "volumes", &r.Volumes),
		table(r, dir, "vpcs", &r.VPCs),
		table(r, dir, "subnets", &r.Subnets),
		table(r, dir, "groups", &r.SecurityGroups),
		table(r, dir, "gateways", &r.Gateways),
		table(r, dir, "routes", &r.RouteTables),
		table(r, dir, "templates", &r.Templates),
		table(r, dir, "fleets", &r.Fleets),
		table(r, dir, "roles", &r.Roles),
		table(r, dir, "instance-profiles", &r.InstanceProfiles),
		table(r, dir, "parameters", &r.Parameters),
		table(r, dir, "buckets", &r.Buckets),
		table(r, dir, "objects", &r.Objects),
		table(r, dir, "settings", &r.settings),
	} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	return r, r.seedNetwork(dir)
}

// table returns what loads one table of a region.
func table[T record](r *Region, dir, kind string, into **Table[T]) func() error {
	return func() (err error) {
		*into, err = loadTable[T](filepath.Join(dir, kind))
		r.tables = append(r.tables, *into)
		return err
	}
}

// Born tells when the record with this id came, of whatever kind it is; false
// when it is not there or was there at the start.
func (r *Region) Born(id string) (time.Time, bool) {
	for _, t := range r.tables {
		if at, ok := t.Born(id); ok {
			return at, true
		}
	}
	return time.Time{}, false
}

// The values of block public access.
const (
	Unblocked       = "unblocked"
	BlockNewSharing = "block-new-sharing"
	BlockAllSharing = "block-all-sharing" // snapshots only
)

const settingsKey = "settings"

// Settings are what the account has set for a region.
type Settings struct {
	// ImageBlock and SnapshotBlock are the states of block public access.
	ImageBlock    string `json:"image_block_public_access"`
	SnapshotBlock string `json:"snapshot_block_public_access"`
	// DefaultKmsKeyID is the key of encryption without a named key (an ARN);
	// empty for the key that AWS manages.
	DefaultKmsKeyID string `json:"default_kms_key_id,omitempty"`
	// EncryptByDefault encrypts every new volume and snapshot.
	EncryptByDefault bool `json:"encrypt_by_default,omitempty"`
}

// Settings returns the settings of the region. As in an account made since
// October 2023, public sharing is blocked for images and not for snapshots.
func (r *Region) Settings() Settings {
	if s, ok := r.settings.Get(settingsKey); ok {
		return s
	}
	return Settings{ImageBlock: BlockNewSharing, SnapshotBlock: Unblocked}
}

// PutSettings changes the settings; the caller is inside Update.
func (r *Region) PutSettings(s Settings) error { return r.settings.Put(s) }
