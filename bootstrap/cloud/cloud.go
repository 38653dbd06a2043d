// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package cloud knows where each cloud keeps user-data, metadata, instance id
// and login key. Clouds are a table with one file per cloud.
package cloud

import (
	"context"
	"errors"
	"time"
)

// ErrAbsent means that the cloud answers and has no such thing.
var ErrAbsent = errors.New("not set in this cloud")

// ErrDenied means that the metadata service refuses: it is switched off for
// this instance, or the hop limit is too small. Trying again does not help.
var ErrDenied = errors.New("metadata service is switched off")

// Cloud gives what one cloud tells an instance about itself.
type Cloud interface {
	// Name is the word of /etc/rightscale.d/cloud.
	Name() string
	// EnvPrefix is put before flattened metadata names: "EC2_".
	EnvPrefix() string
	// UserData returns the launch's user-data as received; ErrAbsent when the
	// launch has none.
	UserData(ctx context.Context) ([]byte, error)
	// MetaData returns the whole metadata tree; an empty tree when there is none.
	MetaData(ctx context.Context) (*Tree, error)
	// InstanceID names this instance; it changes when an image is cloned.
	InstanceID(ctx context.Context) (string, error)
	// LoginKey is the public key chosen at launch, in OpenSSH form; ErrAbsent
	// when none was chosen.
	LoginKey(ctx context.Context) (string, error)
	// Requests counts the requests sent to the metadata service so far.
	Requests() int64
}

// Options tune a Cloud. The zero value is right on a real machine.
type Options struct {
	// Root is the root directory; empty means "/".
	Root string
	// Endpoint replaces the metadata service's base URL, for tests. When empty
	// and Root is not "/", the variable RIGHTIMAGE_IMDS_ENDPOINT is used.
	Endpoint string
	// Deadline bounds one call with all its retries; 0 means DefaultDeadline.
	Deadline time.Duration
	// Workers bounds concurrent requests; 0 means DefaultWorkers.
	Workers int
}

// Defaults of Options.
const (
	DefaultDeadline = 2 * time.Minute
	DefaultWorkers  = 8
)

// New returns the cloud of that name ("ec2", "none"); an unknown name is an
// error that lists the known ones.
func New(name string, o Options) (Cloud, error) { return nil, errors.New("not built yet") }

// Names lists the known clouds.
func Names() []string { return []string{"ec2", "none"} }

// Hints are the DMI strings that recognise a cloud without network.
type Hints struct {
	SysVendor, ProductName, ProductVersion, ProductUUID string
	BIOSVendor, BIOSVersion, BoardVendor, BoardAssetTag string
	ChassisAssetTag, HypervisorUUID                     string
}

// Recognise returns the name of the cloud that the hints point to, or "".
func Recognise(h Hints) string { return "" }
