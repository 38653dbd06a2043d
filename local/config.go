// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package local is a small cloud on one machine: the EC2 query API and the EBS
// direct API on a loopback port, snapshots as sparse files, and instances as
// QEMU machines booted from them. It is a development tool; docs/local.md says
// where it differs from AWS.
package local

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/machine"
)

// Defaults of Config.
const (
	DefaultListen    = "127.0.0.1:4566"
	DefaultAccount   = "000000000000"
	DefaultSettle    = 500 * time.Millisecond
	DefaultStopBound = 4 * time.Minute
)

// Config says how a local cloud runs.
type Config struct {
	// Listen is the loopback address of the APIs; port 0 picks one.
	Listen string
	// StateDir holds all state and is created when absent.
	StateDir string
	// NoBoot makes instances mere records.
	NoBoot bool
	// Forwards are the host addresses that guests can reach.
	Forwards []machine.Forward
	// AccessKey and SecretKey, when set, are the only credentials that are
	// accepted, and signatures are verified. Else any well-formed one will do.
	AccessKey string
	SecretKey secret.String
	// CPUs and MemoryMiB are the size of every instance; 0 for the default.
	CPUs, MemoryMiB int
	// SSHPort leads to ssh at an instance's addresses where port 22 cannot be
	// had; 0 for 2222.
	SSHPort int
	// Account owns everything.
	Account string
	// Regions are the regions there are.
	Regions []string
	// Settle is how long a completed snapshot still shows itself pending, as it
	// does on AWS; clients that do not wait are found out.
	Settle time.Duration
	// StopBound is how long a guest may take to shut down before its plug is pulled.
	StopBound time.Duration
	// Deny names actions that answer "not authorized", such as "ec2:RegisterImage".
	Deny []string
	// Log gets what happens; nil for slog.Default.
	Log *slog.Logger
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// DefaultRegions are the regions of a Config that names none.
func DefaultRegions() []string {
	return []string{
		"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1",
		"eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1",
		"ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
	}
}

// withDefaults fills in what is empty and reports all mistakes at once.
func (c Config) withDefaults() (Config, error) {
	text := func(s *string, absent string) {
		if *s == "" {
			*s = absent
		}
	}
	text(&c.Listen, DefaultListen)
	text(&c.Account, DefaultAccount)
	if len(c.Regions) == 0 {
		c.Regions = DefaultRegions()
	}
	if c.StopBound == 0 {
		c.StopBound = DefaultStopBound
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	slices.Sort(c.Regions)
	return c, errors.Join(c.check()...)
}

func (c Config) check() []error {
	errs := []error{checkLoopback(c.Listen)}
	if c.StateDir == "" {
		errs = append(errs, errors.New("state: name the state directory"))
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		errs = append(errs, errors.New("access-key and secret-key: give both, or neither to accept any credentials"))
	}
	if !regexp.MustCompile(`\A\d{12}\z`).MatchString(c.Account) {
		errs = append(errs, fmt.Errorf("account %q: must have 12 digits", c.Account))
	}
	for _, r := range c.Regions {
		if !regexp.MustCompile(`\A[a-z]{2,}(-[a-z0-9]+)+\z`).MatchString(r) {
			errs = append(errs, fmt.Errorf("region %q: must look like eu-west-1", r))
		}
	}
	if c.SSHPort < 0 || c.SSHPort > 65535 {
		errs = append(errs, fmt.Errorf("ssh-port %d: must be between 1 and 65535", c.SSHPort))
	}
	if c.CPUs < 0 || c.MemoryMiB < 0 || c.Settle < 0 || c.StopBound < 0 {
		errs = append(errs, errors.New("cpus, memory, settle and stop-bound: must not be negative"))
	}
	for _, d := range c.Deny {
		if _, err := fault.ParseDeny(d); err != nil {
			errs = append(errs, fmt.Errorf("deny %q: %w", d, err))
		}
	}
	return errs
}

// checkLoopback refuses an address that others could reach: the APIs run what
// they are told to, for anyone.
func checkLoopback(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen %q: must be HOST:PORT, such as %s: %w", listen, DefaultListen, err)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen %q: the local cloud obeys whoever can connect, so it listens on loopback only; use 127.0.0.1:PORT, [::1]:PORT or localhost:PORT", listen)
}
