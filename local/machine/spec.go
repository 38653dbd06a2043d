// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"errors"
	"log/slog"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/imds"
)

// Spec says what one machine is. The metadata service of the machine is made
// from it, so the EC2 side fills in everything that a guest may ask for.
type Spec struct {
	// ID is the instance id ("i-…"). It also names the machine to Stop and Status.
	ID string
	// Dir belongs to this instance alone and is created when absent. It gets
	// console.log, qemu.log, imds.log and ssh.json.
	Dir string
	// Disks are what the machine has when it boots, the root disk first.
	Disks []Disk

	CPUs      int // 0: 2
	MemoryMiB int // 0: 1024

	Region           string
	AvailabilityZone string
	InstanceType     string
	ImageID          string
	Account          string
	ReservationID    string
	// PrivateIP is what the metadata tells; empty: GuestIP, the address that the
	// guest really gets by DHCP.
	PrivateIP string
	// Addresses are loopback addresses of this host that lead to the guest's
	// port 22: at port 22 where that is free, else at SSHPort. One that cannot
	// be had at either is left out, and said in the log.
	Addresses []string
	// SSHPort is the other port of the Addresses; 0: 2222.
	SSHPort int
	// PublicIP is told by the metadata; empty: there is none.
	PublicIP string
	// Hostname is the private DNS name; empty: EC2's form ip-a-b-c-d.REGION.compute.internal.
	Hostname       string
	KeyName        string
	PublicKey      string
	UserData       []byte
	SecurityGroups []string
	// RootDevice is the root device name of the image; empty: /dev/xvda.
	RootDevice string
	// Tags are shown under tags/instance; nil when the launch did not ask for
	// tags in metadata (InstanceMetadataTags).
	Tags map[string]string
	// Profile is the instance profile in the metadata; the zero value is none.
	Profile imds.Profile
	// LaunchTime is the pendingTime of the identity document; zero: the time of Start.
	LaunchTime time.Time
	// LaunchIndex counts the machines of one launch.
	LaunchIndex int
	// Spot is true for a spot instance.
	Spot bool

	// Forwards are the addresses beside the metadata service that the guest can
	// reach. All else is cut off.
	Forwards []Forward
}

// Disk is one disk of a machine: a qcow2 file over a raw one.
type Disk struct {
	// ID is the volume id ("vol-…"). The guest sees it, without its dash, as the
	// serial number, and so as /dev/disk/by-id/virtio-vol….
	ID string
	// Path is the qcow2 file. Start makes it when it is not there.
	Path string
	// Base is the raw file below it, which is only read; no file there means a
	// blank disk.
	Base string
	// Size in bytes; the disk is made that large when it exceeds Base.
	Size int64
}

// Forward lets the guest reach HostAddr under GuestAddr:GuestPort.
type Forward struct {
	GuestAddr string // inside 169.254.169.0/24, such as 169.254.169.253
	GuestPort int
	HostAddr  string // host:port on this machine, such as 127.0.0.1:8443
}

// GuestIP is the address every guest gets from QEMU's DHCP server. Each guest
// has a network of its own, so that equal addresses do no harm.
const GuestIP = "169.254.169.15"

// State of a machine.
type State string

// The states that Status reports.
const (
	StateRunning State = "running"
	StateStopped State = "stopped"
)

// Status is a moment's view of a machine.
type Status struct {
	ID      string
	State   State
	SSHHost string // 127.0.0.1
	SSHPort int    // loopback port that leads to the guest's port 22
	// AddressPort is the port of the Addresses: 22, the other one of the Spec,
	// or 0 when they could not be had.
	AddressPort int
	PID         int    // of QEMU, 0 when stopped
	Accel       string // "kvm" or "tcg"
	Started     time.Time
	// Reason tells why a stopped machine stopped.
	Reason string
}

// Event reports a machine that went down without being told so through the
// Manager: the guest powered itself off, or QEMU died.
type Event struct {
	ID string
	// PoweredOff is true for an orderly power off by the guest, false when QEMU ended with an error.
	PoweredOff bool
	Reason     string
}

// ErrUnknown is returned for an id that was never started, or was forgotten.
var ErrUnknown = errors.New("no such machine")

// ErrClosed is returned by Start after Close.
var ErrClosed = errors.New("machine manager is closed")

// Options set up a Manager. The zero value works where the program is the
// rightimage command and QEMU is on PATH.
type Options struct {
	// Relay is the command that carries one guest connection; the target
	// ("unix:PATH", "tcp:HOST:PORT") is appended. Empty: this program's
	// "local relay".
	Relay []string
	// QEMU and QEMUImg are the programs; empty: qemu-system-x86_64, qemu-img.
	QEMU    string
	QEMUImg string
	// Accel is "kvm", "tcg" or empty to probe.
	Accel string
	// RebootBound is how long Reboot waits for an orderly shutdown; 0: 90 s.
	RebootBound time.Duration
	// OnEvent is told of machines that went down by themselves. It is called in
	// its own goroutine and may call the Manager.
	OnEvent func(Event)
	// Authority signs the identity documents of the machines; nil: nobody does.
	Authority *imds.Authority
	// Log gets a line per start, stop and fault; nil: slog.Default().
	Log *slog.Logger
}
