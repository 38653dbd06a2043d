// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/install"
)

const installHelp = `Make this machine what an image of ours is: bootstrap, its boot hooks, and
RightLink's package in the cache. Needs root. Running it again changes nothing.

    rightimage install
    rightimage install --connect https://rs.example.net/connect/… --platform-ca-file ca.pem

--connect gets user-data from a platform (or from a file), keeps it in
/var/spool/rightscale/user-data.txt, and enrols at once. It is refused on a
machine that is connected already; --force connects it anew. The address must be an
https one, since what it leads to is a secret; --allow-http takes the risk.

"/opt/rightscale/bin/bootstrap uninstall --purge" takes everything out again.`

func installCommand() *cobra.Command {
	var o install.Options
	var text struct{ cloud, version, mode, ca, user string }
	var packages []string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make this machine what an image of ours is",
		Long:  installHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Provisioner = map[string]any{}
			for name, value := range map[string]string{
				"cloud": text.cloud, "rightlink_version": text.version, "mode": text.mode, "platform_ca_file": text.ca, "login_user": text.user,
			} {
				if value != "" {
					o.Provisioner[name] = value
				}
			}
			if len(packages) > 0 {
				o.Provisioner["package_files"] = packages
			}
			if text.ca != "" {
				ca, err := os.ReadFile(text.ca)
				if err != nil {
					return usageError{err}
				}
				o.CA = ca
			}
			if (o.Force || o.AllowHTTP) && o.Connect == "" {
				return usageError{errors.New("--force and --allow-http are for --connect")}
			}
			o.Output = cmd.OutOrStdout()
			return install.Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Connect, "connect", "", "connect to the platform that shows user-data at this `URL` (or in this file)")
	f.BoolVar(&o.Force, "force", false, "connect a machine that is connected already")
	f.BoolVar(&o.AllowHTTP, "allow-http", false, "let --connect get user-data unencrypted from another machine")
	f.BoolVar(&o.Start, "start", false, "run the stages now, without waiting for the next boot")
	f.StringVar(&text.cloud, "cloud", "", "cloud of this machine (default: what its hint file says, else what its firmware says)")
	f.StringVar(&text.mode, "mode", "", "seed: RightLink is installed by the stages (default); preinstalled: at once")
	f.StringVar(&text.version, "rightlink-version", "", "version of RightLink (default: the one that this program carries)")
	f.StringSliceVar(&packages, "package-files", nil, "further RightLink packages for the cache")
	f.StringVar(&text.ca, "platform-ca-file", "", "CA certificate of the platform (PEM), if it is not a public one")
	f.StringVar(&text.user, "login-user", "", "account that gets the login key of the cloud")
	return cmd
}
