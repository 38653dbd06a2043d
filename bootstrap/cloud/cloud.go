// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package cloud knows where each cloud keeps user-data, metadata, instance id
// and login key. Clouds are a table with one file per cloud.
package cloud

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
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
	// Fingerprint is a short text that differs when the metadata has changed
	// since the one of before ("" if there was none) in a way that a stop and
	// start brings. It costs a request or two at first and one later; "" means
	// that this cloud has no such thing, and its metadata is read in full.
	Fingerprint(ctx context.Context, before string) (string, error)
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
	// Session is a file for what the stages of one boot share, Boot the id of
	// this boot; without either each asks for itself.
	Session, Boot string
	// Run starts the tools of clouds that need some; nil means the real ones.
	Run run.Runner
}

// Defaults of Options.
const (
	DefaultDeadline = 2 * time.Minute
	DefaultWorkers  = 8
)

// EndpointEnv names the variable that replaces the metadata service's address
// in tests, that is, with a root directory other than "/".
const EndpointEnv = "RIGHTIMAGE_IMDS_ENDPOINT"

// provider is a row of the table of clouds.
type provider struct {
	name string
	// recognise judges DMI strings, without network.
	recognise func(Hints) bool
	open      func(Options) Cloud
}

// providers is the table; the first that recognises the hints wins.
func providers() []provider {
	return []provider{
		{"nocloud", recogniseNoCloud, newNoCloud}, // put there on purpose
		{"ec2", recogniseEC2, newEC2},
		{"gce", recogniseGCE, newGCE},
		{"azure", recogniseAzure, newAzure},
		{"digitalocean", recogniseDigitalOcean, newDigitalOcean},
		{"oracle", recogniseOracle, newOracle},
		{"cloudstack", recogniseCloudStack, newCloudStack},
		{"openstack", recogniseOpenStack, newOpenStack},
		// A config drive on hardware that says nothing, such as OpenStack's bare metal.
		{"openstack", func(h Hints) bool { return h.ConfigDrive }, newOpenStack},
		{"vsphere", recogniseVSphere, newVSphere},
		{"rackspace", nobody, newRackspace},
		{"none", nobody, newNone},
	}
}

// nobody is for clouds that only the hint file names.
func nobody(Hints) bool { return false }

// modern is today's word for a cloud that the original named otherwise.
func modern(name string) string {
	switch name {
	case "google":
		return "gce"
	case "eucalyptus":
		return "ec2"
	}
	return name
}

// New returns the cloud of that name ("ec2", "gce", …, "none"); an unknown name is an
// error that lists the known ones.
func New(name string, o Options) (Cloud, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Endpoint == "" && filepath.Clean(o.Root) != "/" {
		o.Endpoint = os.Getenv(EndpointEnv)
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Workers == 0 {
		o.Workers = DefaultWorkers
	}
	for _, p := range providers() {
		if p.name == modern(name) {
			return local{p.open(o), o.Root}, nil
		}
	}
	return nil, fmt.Errorf("cloud %q in /etc/rightscale.d/cloud is not known; use one of: %s", name, strings.Join(Names(), ", "))
}

// Names lists the known clouds.
func Names() []string {
	var names []string
	for _, p := range providers() {
		if !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// Hints are the DMI strings that recognise a cloud without network.
type Hints struct {
	SysVendor, ProductName, ProductVersion, ProductUUID string
	BIOSVendor, BIOSVersion, BoardVendor, BoardAssetTag string
	ChassisAssetTag, HypervisorUUID                     string

	// NoCloud and ConfigDrive say that the files or the disk are there.
	NoCloud, ConfigDrive bool
}

// LocalHints looks for what is known without firmware or network.
func (h *Hints) LocalHints(root string) {
	for _, dir := range SeedDirs() {
		if _, err := os.Stat(filepath.Join(root, dir, "meta-data")); err == nil {
			h.NoCloud = true
		}
	}
	h.NoCloud = h.NoCloud || findDrive(root, NoCloudLabels()) != ""
	h.ConfigDrive = findDrive(root, []string{"config-2", "CONFIG-2"}) != ""
}

// Recognise returns the name of the cloud that the hints point to, or "".
func Recognise(h Hints) string {
	for _, p := range providers() {
		if p.recognise(h) {
			return p.name
		}
	}
	return ""
}

// local adds the local files that every cloud honours: a file
// /var/spool/<cloud>/user-data.txt replaces the cloud's user-data, and
// /var/spool/rightscale/user-data.txt (left by rs_connect) stands in when the
// cloud's own has no platform settings.
type local struct {
	Cloud

	root string
}

func (l local) UserData(ctx context.Context) ([]byte, error) {
	if own, err := readInput(l.root, l.Name(), "user-data.txt"); !errors.Is(err, ErrAbsent) {
		return own, err
	}
	if alone(l.Name()) {
		if extra, err := readInput(l.root, "rightscale", "user-data.txt"); !errors.Is(err, ErrAbsent) {
			return extra, err
		}
	}
	raw, err := l.Cloud.UserData(ctx)
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	if _, ok := userdata.Parse(raw).Settings(); ok {
		return raw, nil
	}
	if extra, extraErr := readInput(l.root, "rightscale", "user-data.txt"); extraErr == nil {
		return extra, nil
	}
	return raw, err
}

// maxInput bounds local input files.
const maxInput = 4 << 20

// readInput reads /var/spool/<dir>/<name>; ErrAbsent when it is not there or
// blank.
func readInput(root, dir, name string) ([]byte, error) {
	path := filepath.Join(root, "var/spool", dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrAbsent)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxInput {
		return nil, fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxInput)
	}
	data, err := os.ReadFile(path)
	if err == nil && len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("%s is blank: %w", path, ErrAbsent)
	}
	return data, err
}
