// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"slices"
	"time"
)

// BlockDevice is one entry of a block device mapping, of an image or an instance.
type BlockDevice struct {
	DeviceName          string `json:"device_name"`
	VirtualName         string `json:"virtual_name,omitempty"`
	NoDevice            bool   `json:"no_device,omitempty"`
	SnapshotID          string `json:"snapshot_id,omitempty"`
	VolumeID            string `json:"volume_id,omitempty"`
	SizeGiB             int64  `json:"size_gib,omitempty"`
	VolumeType          string `json:"volume_type,omitempty"`
	IOPS                int64  `json:"iops,omitempty"`
	Throughput          int64  `json:"throughput,omitempty"`
	Encrypted           bool   `json:"encrypted,omitempty"`
	KmsKeyID            string `json:"kms_key_id,omitempty"`
	DeleteOnTermination bool   `json:"delete_on_termination"`
}

// The states that an image goes through.
const (
	ImagePending   = "pending"
	ImageAvailable = "available"
	ImageFailed    = "failed"
	ImageDisabled  = "disabled"
)

// GroupAll is the one group that things can be shared with: everybody.
const GroupAll = "all"

// Permission lets somebody else use an image or a snapshot. One field is set.
type Permission struct {
	User  string `json:"user,omitempty"`  // an account
	Group string `json:"group,omitempty"` // GroupAll
	OrgID string `json:"org,omitempty"`   // ARN of an organisation
	OUID  string `json:"ou,omitempty"`    // ARN of an organisational unit
}

// Image is a registered AMI.
type Image struct {
	ID                 string            `json:"id"`
	Name               string            `json:"name"`
	Description        string            `json:"description,omitempty"`
	Architecture       string            `json:"architecture"`
	VirtualizationType string            `json:"virtualization_type"`
	BootMode           string            `json:"boot_mode,omitempty"`
	ImdsSupport        string            `json:"imds_support,omitempty"`
	TpmSupport         string            `json:"tpm_support,omitempty"`
	UefiData           string            `json:"uefi_data,omitempty"`
	SriovNetSupport    string            `json:"sriov_net_support,omitempty"`
	EnaSupport         bool              `json:"ena_support"`
	RootDeviceName     string            `json:"root_device_name"`
	BlockDevices       []BlockDevice     `json:"block_devices"`
	Tags               map[string]string `json:"tags,omitempty"`
	CreationDate       time.Time         `json:"creation_date"`

	// State is what the image becomes, empty for available; until ReadyAt it
	// shows itself pending. StateMessage says why it failed. Use Now to read them.
	State        string    `json:"state,omitempty"`
	StateMessage string    `json:"state_message,omitempty"`
	ReadyAt      time.Time `json:"ready_at,omitzero"`

	// Permissions are who else may launch it.
	Permissions []Permission `json:"permissions,omitempty"`
	// DeprecateAt is when the image becomes deprecated; Deprecation is what counts.
	DeprecateAt time.Time `json:"deprecate_at,omitzero"`
	// Protected refuses deregistration. With Cooldown it goes on to do so until
	// ProtectedUntil, a day after protection was disabled.
	Protected      bool      `json:"protected,omitempty"`
	Cooldown       bool      `json:"cooldown,omitempty"`
	ProtectedUntil time.Time `json:"protected_until,omitzero"`

	// SourceImageID and SourceRegion are what a copy was made of,
	// SourceInstanceID what CreateImage made an image of.
	SourceImageID    string `json:"source_image_id,omitempty"`
	SourceRegion     string `json:"source_region,omitempty"`
	SourceInstanceID string `json:"source_instance_id,omitempty"`

	// ClientToken and RequestHash recognise a repeated CopyImage.
	ClientToken string `json:"client_token,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
}

// Root returns the block device that the image boots from.
func (i Image) Root() (BlockDevice, bool) {
	for _, d := range i.BlockDevices {
		if d.DeviceName == i.RootDeviceName {
			return d, true
		}
	}
	return BlockDevice{}, false
}

// Now returns the image with the state that it shows at that moment.
func (i Image) Now(at time.Time) Image {
	switch {
	case at.Before(i.ReadyAt):
		i.State, i.StateMessage = ImagePending, ""
	case i.State == "":
		i.State = ImageAvailable
	}
	return i
}

// Public tells whether everybody may launch the image.
func (i Image) Public() bool { return slices.Contains(i.Permissions, Permission{Group: GroupAll}) }

// Deprecation is when the image becomes deprecated, zero for never. AWS
// deprecates a public image two years after it was made at the latest.
func (i Image) Deprecation() time.Time {
	latest := i.CreationDate.AddDate(2, 0, 0)
	if i.Public() && (i.DeprecateAt.IsZero() || i.DeprecateAt.After(latest)) {
		return latest
	}
	return i.DeprecateAt
}

// Images returns all images of a region with the states they show now.
func (s *Store) Images(r *Region) []Image {
	all := r.Images.All()
	for i := range all {
		all[i] = all[i].Now(s.now())
	}
	return all
}

// Image returns an image with the state it shows now.
func (s *Store) Image(r *Region, id string) (Image, bool) {
	img, ok := r.Images.Get(id)
	return img.Now(s.now()), ok
}
