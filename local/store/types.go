// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/rand"
	"encoding/hex"
	"time"
)

// BlockSize is the size of a snapshot block in the EBS direct API.
const BlockSize = 512 << 10

// The states that a snapshot goes through.
const (
	SnapshotPending   = "pending"
	SnapshotCompleted = "completed"
	SnapshotError     = "error"
)

// Snapshot is the metadata of one snapshot; its data lies in files beside it.
type Snapshot struct {
	ID          string            `json:"id"`
	ParentID    string            `json:"parent_id,omitempty"`
	VolumeID    string            `json:"volume_id"`
	Description string            `json:"description,omitempty"`
	SizeGiB     int64             `json:"size_gib"`
	Tags        map[string]string `json:"tags,omitempty"`
	StartTime   time.Time         `json:"start_time"`
	// Timeout cancels an upload that stands still for so long.
	Timeout time.Duration `json:"timeout"`
	// ClientToken and RequestHash recognise a repeated StartSnapshot.
	ClientToken string `json:"client_token,omitempty"`
	RequestHash string `json:"request_hash,omitempty"`
	// Sealed is true once CompleteSnapshot was accepted; the snapshot shows
	// itself as completed from CompletedAt on.
	Sealed      bool      `json:"sealed"`
	CompletedAt time.Time `json:"completed_at,omitzero"`
	// DataBytes is what the blocks hold, without holes.
	DataBytes int64 `json:"data_bytes,omitempty"`
	// Encrypted and KmsKeyID (an ARN) are what a client sees; the data lies on
	// disk in the clear.
	Encrypted bool   `json:"encrypted,omitempty"`
	KmsKeyID  string `json:"kms_key_id,omitempty"`
	// Permissions are who else may make volumes of it: accounts and "all".
	Permissions []Permission `json:"permissions,omitempty"`
	// FailWith, when set, ends a pending snapshot in the state error, as a copy
	// with an unusable key does.
	FailWith string `json:"fail_with,omitempty"`
	// State and StateMessage are filled in when the record is read.
	State        string `json:"-"`
	StateMessage string `json:"-"`
}

// The states of an instance, with EC2's names.
const (
	InstancePending      = "pending"
	InstanceRunning      = "running"
	InstanceShuttingDown = "shutting-down"
	InstanceTerminated   = "terminated"
	InstanceStopping     = "stopping"
	InstanceStopped      = "stopped"
)

// Instance is one launched machine, or the record of one with --no-boot.
type Instance struct {
	ID            string            `json:"id"`
	ReservationID string            `json:"reservation_id"`
	ImageID       string            `json:"image_id"`
	InstanceType  string            `json:"instance_type"`
	State         string            `json:"state"`
	StateCode     string            `json:"state_reason_code,omitempty"`
	StateMessage  string            `json:"state_reason_message,omitempty"`
	Transition    string            `json:"state_transition_reason,omitempty"`
	LaunchIndex   int               `json:"launch_index"`
	LaunchTime    time.Time         `json:"launch_time"`
	EndTime       time.Time         `json:"end_time,omitzero"`
	KeyName       string            `json:"key_name,omitempty"`
	PublicKey     string            `json:"public_key,omitempty"`
	PrivateIP     string            `json:"private_ip,omitempty"`
	PublicIP      string            `json:"public_ip,omitempty"`
	Zone          string            `json:"zone"`
	VPCID         string            `json:"vpc_id,omitempty"`
	SubnetID      string            `json:"subnet_id,omitempty"`
	Groups        []Group           `json:"groups,omitempty"`
	Tags          map[string]string `json:"tags,omitempty"`
	// InterfaceTags are those of the one network interface.
	InterfaceTags map[string]string `json:"interface_tags,omitempty"`
	// WantPublicIP gives the instance a public address whenever it starts.
	WantPublicIP bool `json:"want_public_ip,omitempty"`
	// Profile is the instance profile; no ARN: none.
	Profile Profile `json:"profile,omitzero"`
	// SpotRequestID is set for a spot instance, with the tags of the request.
	SpotRequestID string            `json:"spot_request_id,omitempty"`
	SpotTags      map[string]string `json:"spot_tags,omitempty"`
	// FleetID is the fleet that launched it.
	FleetID string `json:"fleet_id,omitempty"`
	// NoTermination and NoStop refuse these calls until they are taken back.
	NoTermination bool `json:"no_termination,omitempty"`
	NoStop        bool `json:"no_stop,omitempty"`
	// EbsOptimized, NoSourceDestCheck and Monitoring are kept and shown.
	EbsOptimized      bool `json:"ebs_optimized,omitempty"`
	NoSourceDestCheck bool `json:"no_source_dest_check,omitempty"`
	Monitoring        bool `json:"monitoring,omitempty"`
	// UserData may hold a token, so the record is written for its owner only.
	UserData         []byte `json:"user_data,omitempty"`
	ShutdownBehavior string `json:"shutdown_behavior"`
	// Booted is true once the machine ran; a first boot that breaks ends the instance.
	Booted      bool            `json:"booted,omitempty"`
	Metadata    MetadataOptions `json:"metadata_options"`
	ClientToken string          `json:"client_token,omitempty"`
	RequestHash string          `json:"request_hash,omitempty"`
	// Image is a copy of the image at launch, which may be deregistered later.
	Image        Image         `json:"image"`
	BlockDevices []BlockDevice `json:"block_devices"`
}

// Profile is the instance profile of an instance.
type Profile struct {
	ARN  string `json:"arn"`
	ID   string `json:"id"`
	Role string `json:"role,omitempty"`
}

// Group is a security group of an instance.
type Group struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// MetadataOptions are the instance's metadata settings.
type MetadataOptions struct {
	HTTPTokens   string `json:"http_tokens"`
	HTTPEndpoint string `json:"http_endpoint"`
	HopLimit     int64  `json:"hop_limit"`
	InstanceTags string `json:"instance_tags"`
}

// KeyPair is a public key that instances can be launched with.
type KeyPair struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Fingerprint string            `json:"fingerprint"`
	PublicKey   string            `json:"public_key"`
	Tags        map[string]string `json:"tags,omitempty"`
	Created     time.Time         `json:"created"`
}

// NewID makes an identifier as EC2 does: the prefix and 17 hex digits.
func NewID(prefix string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return prefix + "-0" + hex.EncodeToString(b[:])
}
