// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool -modfile=../tools/sdc/go.mod packer-sdc mapstructure-to-hcl2 -type Config

package provisioner

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/internal/mirrorconf"
	"github.com/rightimage/packer-plugin-rightimage/internal/pkgname"
	"github.com/rightimage/packer-plugin-rightimage/internal/trust"
)

// Values of the options cloud and mode.
const (
	cloudEC2         = "ec2"
	cloudNone        = "none"
	cloudAuto        = "auto" // bootstrap's word for finding out
	modeSeed         = "seed"
	modePreinstalled = "preinstalled"
)

// Config is what a template tells the provisioner "rightimage".
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Cloud that the image is for: `ec2`, `openstack`, `cloudstack`, `gce`,
	// `azure`, `digitalocean`, `oracle`, `vsphere`, `rackspace`, `nocloud`, or
	// `none` for machines without any of them. `auto` leaves it to the firmware
	// of the machine. Default `ec2`.
	Cloud string `mapstructure:"cloud"`
	// `seed` (the default): RightLink lies in the image's cache and is installed
	// on first boot. `preinstalled`: it is installed now.
	Mode string `mapstructure:"mode"`
	// Version of RightLink that instances want, or a channel of the mirrors, such
	// as `stable`, which they follow. Default: the version that this plugin
	// carries. Another version comes from `package_files`, or from a mirror on
	// first boot.
	RightLinkVersion string `mapstructure:"rightlink_version"`
	// Further RightLink packages for the image's cache, named
	// `rightlink_<version>_<arch>.deb`, `.rpm` or `.tar.gz`.
	PackageFiles []string `mapstructure:"package_files"`
	// Mirrors of RightLink packages, tried in this order: `https://`, `http://` or
	// `s3://bucket/prefix`. Buckets usually come last. Needs `mirror_root_file`.
	Mirrors []string `mapstructure:"mirrors"`
	// Root of trust of the mirrors: the `root.json` that `rightimage mirror init`
	// made. Nothing is installed from a mirror that it does not vouch for.
	MirrorRootFile string `mapstructure:"mirror_root_file"`
	// CA certificate (PEM) of the mirrors, if it is not a public one.
	MirrorCAFile string `mapstructure:"mirror_ca_file"`
	// Let `RS_src` in user-data name packages that no mirror's metadata vouches
	// for. For development only: who may launch instances can then run anything.
	AllowUnsignedPackages bool `mapstructure:"allow_unsigned_packages"`
	// Put no package into the image's cache.
	SkipPackageCache bool `mapstructure:"skip_package_cache"`
	// CA certificate (PEM) of the platform, if it is not a public one. RightLink
	// trusts it beside the system's own.
	PlatformCAFile string `mapstructure:"platform_ca_file"`
	// User whose `authorized_keys` gets the login key of the cloud. Default: the
	// image's own default user, else root.
	LoginUser string `mapstructure:"login_user"`
	// Name of this build in `rightimage-release.js`. Default: the name of the
	// Packer build.
	BuildID string `mapstructure:"build_id"`
	// Date (YYYYMMDD) at which the package sources of the image are frozen, for
	// `rightimage-release.js`.
	FreezeDate string `mapstructure:"freeze_date"`
	// Run commands in the guest with `sudo -n`. Default: when the login user is
	// not root.
	UseSudo config.Trilean `mapstructure:"use_sudo"`

	InspectConfig `mapstructure:",squash"`

	ca       []byte
	mirrorCA []byte
	root     []byte
	ctx      interpolate.Context
}

// clouds are those that bootstrap knows, and the word for finding out.
func clouds() []string {
	return []string{
		cloudEC2, "openstack", "cloudstack", "gce", "azure", "digitalocean", "oracle", "vsphere", "rackspace", "nocloud", cloudNone, cloudAuto,
	}
}

// packageName is the form of RightLink's package names: version, architecture
// and format.
func packageName() *regexp.Regexp {
	return regexp.MustCompile(`^rightlink_([0-9a-z][0-9a-z._-]*)_(amd64|arm64)\.(deb|rpm|tar\.gz)$`)
}

// prepare reads the options, sets defaults and returns every problem at once.
func (c *Config) prepare(raws ...any) error {
	problems := c.decode(raws...)
	defaults(&c.Cloud, cloudEC2)
	defaults(&c.Mode, modeSeed)
	defaults(&c.BuildID, c.PackerBuildName)
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if !slices.Contains(clouds(), c.Cloud) {
		add("cloud: %q is not supported; it is one of %s", c.Cloud, strings.Join(clouds(), ", "))
	}
	if c.Mode != modeSeed && c.Mode != modePreinstalled {
		add("mode: %q is not supported; it is %q or %q", c.Mode, modeSeed, modePreinstalled)
	}
	if v := c.RightLinkVersion; pkgname.IsChannel(v) && len(c.Mirrors) == 0 {
		add("rightlink_version: %q is a channel, which needs mirrors", v)
	} else if v != "" && !pkgname.IsChannel(v) && !regexp.MustCompile(`^[0-9][0-9a-z._-]*$`).MatchString(v) {
		add("rightlink_version: %q is not a version; it starts with a digit and holds digits, lower-case letters, dots, dashes and underscores; a channel starts with a letter", v)
	}
	for _, f := range c.PackageFiles {
		if !packageName().MatchString(filepath.Base(f)) {
			add("package_files: %q: packages are named rightlink_<version>_<amd64|arm64>.deb, .rpm or .tar.gz", f)
		} else if info, err := os.Stat(f); err != nil || !info.Mode().IsRegular() {
			add("package_files: %s: there is no such file on this machine", f)
		}
	}
	if u := c.LoginUser; u != "" && !regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`).MatchString(u) {
		add("login_user: %q is not a user name", u)
	}
	if d := c.FreezeDate; d != "" && !regexp.MustCompile(`^[0-9]{8}$`).MatchString(d) {
		add("freeze_date: %q is not a date; write it as YYYYMMDD", d)
	}
	if c.PlatformCAFile != "" {
		ca, err := readCA(c.PlatformCAFile)
		if err != nil {
			add("platform_ca_file: %w", err)
		}
		c.ca = ca
	}
	problems = append(problems, c.prepareMirrors()...)
	problems = append(problems, c.prepareInspect()...)
	if len(problems) == 0 {
		return nil
	}
	return packersdk.MultiErrorAppend(nil, problems...)
}

// prepareMirrors reads what the image has to hold about mirrors.
func (c *Config) prepareMirrors() (problems []error) {
	for _, m := range c.Mirrors {
		if err := mirrorconf.CheckAddress(m); err != nil {
			problems = append(problems, fmt.Errorf("mirrors: %w", err))
		}
	}
	switch {
	case c.MirrorRootFile != "":
		data, err := os.ReadFile(c.MirrorRootFile)
		if err == nil {
			err = trust.CheckRoot(data)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("mirror_root_file: %w", err))
		}
		c.root = data
	case len(c.Mirrors) > 0:
		problems = append(problems, errors.New("mirrors: without mirror_root_file nothing from them could be trusted; give the root.json of the mirror"))
	case c.AllowUnsignedPackages:
		problems = append(problems, errors.New("allow_unsigned_packages: it needs mirrors and mirror_root_file"))
	}
	if c.MirrorCAFile != "" {
		ca, err := readCA(c.MirrorCAFile)
		if err != nil {
			problems = append(problems, fmt.Errorf("mirror_ca_file: %w", err))
		}
		c.mirrorCA = ca
	}
	return problems
}

func defaults(option *string, value string) {
	if *option == "" {
		*option = value
	}
}

// decode returns unknown options as problems beside the decoded rest.
func (c *Config) decode(raws ...any) []error {
	err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "rightimage",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...)
	var several *multierror.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &several):
		return several.Errors
	default:
		return []error{err}
	}
}

// readCA reads certificates and refuses anything else, a private key above all.
func readCA(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	count := 0
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s; only certificates may go into an image", path, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		count++
	}
	if count == 0 {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return data, nil
}
