// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config

package disk

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

// Config is what a template tells the source "rightimage-disk".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Path or http(s) URL of a raw, qcow2 or vmdk disk. A download goes to
	// Packer's cache, and one that breaks goes on where it was.
	ISOURL string `mapstructure:"iso_url"`
	// Several paths or URLs of the same disk instead of `iso_url`; the first that
	// can be had is taken.
	ISOURLs []string `mapstructure:"iso_urls"`
	// Checksum of the disk: `sha256:…` (also md5, sha1, sha512, with or without
	// the name), `file:` with the path or URL of a checksum file, or `none` for a
	// local disk.
	ISOChecksum string `mapstructure:"iso_checksum" required:"true"`
	// Where a download is kept instead of Packer's cache.
	ISOTargetPath string `mapstructure:"iso_target_path"`

	// Format of the input disk: `raw`, `qcow2` or `vmdk`. Default: recognised by
	// its first bytes.
	DiskFormat string `mapstructure:"disk_format"`
	// Size of the finished disk, such as `8G` or `20480M`; a plain number is in
	// MiB. Default: the size of the input. It cannot be smaller than the input.
	// The root file system grows to the new size when an instance first boots.
	DiskSize string `mapstructure:"disk_size"`
	// Number of the partition that holds the root file system, as in the
	// partition table. Default: found by partition type, label and content.
	RootPartition int `mapstructure:"root_partition"`

	// Directory for the finished disk and `rightimage-catalog.json`. Default
	// `output-<build name>`. A disk that is there already is only replaced with
	// `packer build -force`, and only when the new one is complete.
	OutputDirectory string `mapstructure:"output_directory"`
	// File name of the finished disk. Default `<build name>.raw`.
	OutputFilename string `mapstructure:"output_filename"`

	// File systems that are mounted in the chroot, as lists of type, source and
	// mount point; the type `bind` binds a directory of this machine. Default:
	//
	// ```hcl
	// chroot_mounts = [
	//   ["proc", "proc", "/proc"],
	//   ["sysfs", "sysfs", "/sys"],
	//   ["bind", "/dev", "/dev"],
	//   ["devpts", "devpts", "/dev/pts"],
	//   ["tmpfs", "tmpfs", "/run"],
	// ]
	// ```
	ChrootMounts [][]string `mapstructure:"chroot_mounts"`
	// Files of this machine that are lent to the chroot under the same path
	// during provisioning. Afterwards the image's own files are put back, unless
	// a provisioner has changed them. Default `["/etc/resolv.conf"]`; `[]` for
	// none.
	CopyFiles []string `mapstructure:"copy_files"`
	// How commands that need root are run. Default `{{.Command}}` for root, and
	// `sudo -n {{.Command}}` for everybody else.
	CommandWrapper string `mapstructure:"command_wrapper"`
	// Let packages start services while provisioners run. By default a
	// `policy-rc.d` forbids it.
	AllowServiceStarts bool `mapstructure:"allow_service_starts"`
	// Leave out the check of the file system before and after provisioning.
	SkipFsck bool `mapstructure:"skip_fsck"`

	// Write the root file system (ext2, ext3 or ext4) anew after provisioning, with
	// the times of SOURCE_DATE_EPOCH, so that equal builds make equal disks. Default
	// true when that environment variable is set; needs it, and `mke2fs`.
	Reproducible config.Trilean `mapstructure:"reproducible"`

	publish.Config `mapstructure:",squash"`

	// sizeBytes is DiskSize in bytes; 0 for the size of the input.
	sizeBytes int64
	// date is what the times of a reproducible disk are; the zero time for one
	// that is not.
	date time.Time
	ctx  interpolate.Context
}

// defaultMounts is the default of chroot_mounts. /run is a file system of its
// own, so that nothing that services leave there ends up in the image.
func defaultMounts() [][]string {
	return [][]string{
		{"proc", "proc", "/proc"},
		{"sysfs", "sysfs", "/sys"},
		{"bind", "/dev", "/dev"},
		{"devpts", "devpts", "/dev/pts"},
		{"tmpfs", "tmpfs", "/run"},
	}
}

const (
	defaultCopyFile    = "/etc/resolv.conf"
	defaultRootWrapper = "{{.Command}}"
	defaultUserWrapper = "sudo -n {{.Command}}"
)
