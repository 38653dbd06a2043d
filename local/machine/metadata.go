// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
)

// metadata is the running metadata service of one machine. It listens on a unix
// socket that only the machine's relays know.
type metadata struct {
	server *imds.Server
	http   *http.Server
	log    *os.File
}

func serveMetadata(s Spec, authority *imds.Authority, socket string) (*metadata, error) {
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("socket path %q is longer than the %d bytes of a unix socket: set TMPDIR to a shorter path", socket, maxSocketPath)
	}
	log, err := os.OpenFile(filepath.Join(s.Dir, imdsLogFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("metadata service: %w", err)
	}
	told := s.metadata()
	told.Authority = authority
	server, err := imds.New(told, log)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("metadata service: %w", err), log.Close())
	}
	listener, err := net.Listen("unix", socket) //nolint:noctx // a local socket opens at once
	if err != nil {
		return nil, errors.Join(fmt.Errorf("metadata service: %w", err), log.Close())
	}
	m := &metadata{server: server, log: log, http: &http.Server{Handler: server, ReadHeaderTimeout: time.Minute, IdleTimeout: time.Minute}}
	go func() { _ = m.http.Serve(listener) }() // ends with close
	return m, nil
}

// close ends the service; a second call does nothing.
func (m *metadata) close() {
	_ = m.http.Close() // also removes the socket
	_ = m.log.Close()
}

// metadata is what the guest is told.
func (s Spec) metadata() imds.Instance {
	return imds.Instance{
		ID: s.ID, ImageID: s.ImageID, Type: s.InstanceType, Region: s.Region, AvailabilityZone: s.AvailabilityZone,
		Account: s.Account, Architecture: "x86_64", PrivateIP: s.PrivateIP, Hostname: s.Hostname, MAC: MAC(s.ID),
		ReservationID: s.ReservationID, KeyName: s.KeyName, PublicKey: s.PublicKey, SecurityGroups: s.SecurityGroups,
		RootDevice: s.RootDevice, LaunchTime: s.LaunchTime, UserData: s.UserData, Tags: s.Tags,
		PublicIP: s.PublicIP, Profile: s.Profile, LaunchIndex: s.LaunchIndex, Spot: s.Spot,
	}
}

// complete checks the spec and fills in what was left to us.
func (s Spec) complete() (Spec, error) {
	if s.ID == "" || s.Dir == "" || len(s.Disks) == 0 {
		return s, errors.New("spec: ID, Dir and Disks must be set")
	}
	if strings.ContainsAny(s.ID, "/\x00") {
		return s, fmt.Errorf("spec: ID %q is no instance id", s.ID)
	}
	var errs []error
	dir, err := filepath.Abs(s.Dir) // QEMU and its relays may run elsewhere
	s.Dir = dir
	errs = append(errs, err, checkText("instance folder", dir))
	s.Disks = slices.Clone(s.Disks)
	for i := range s.Disks {
		errs = append(errs, s.Disks[i].complete())
	}
	errs = append(errs, checkText("instance id", s.ID), checkText("instance type", s.InstanceType))
	for _, f := range s.Forwards {
		errs = append(errs, f.check())
	}
	setDefault(&s.CPUs, 2)
	setDefault(&s.MemoryMiB, 1024)
	setDefault(&s.SSHPort, defaultSSHPort)
	setDefault(&s.PrivateIP, GuestIP)
	setDefault(&s.Hostname, fmt.Sprintf("ip-%s.%s.compute.internal", strings.ReplaceAll(s.PrivateIP, ".", "-"), s.Region))
	setDefault(&s.RootDevice, "/dev/xvda")
	setDefault(&s.LaunchTime, time.Now())
	return s, errors.Join(errs...)
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}
