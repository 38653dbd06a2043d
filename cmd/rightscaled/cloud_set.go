// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const cloudSetHelp = `Changes what is given and keeps the rest, after having asked the cloud whether the
credentials work. Servers, instances and images of the cloud stay.

A new secret key is read from standard input when --access-key is given. The keys of
a cloud are never shown.`

func (a *app) cloudSet() *cobra.Command {
	var given launch.CloudSpec
	var token bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "set NAME [--access-key ID | --ambient] ...", Short: "Change a cloud, or its credentials", Long: cloudSetHelp, Args: cobra.ExactArgs(1),
		Example: "  printf %s \"$SECRET_KEY\" | rightscaled cloud set ireland --access-key AKIA...\n" +
			"  rightscaled cloud set ireland --discover 5m --description \"production\"\n" +
			"  rightscaled cloud set ireland --name dublin",
		RunE: func(cmd *cobra.Command, args []string) error {
			if token && given.AccessKey == "" {
				return errors.New("--session-token: goes with --access-key, whose secret key is on the line before it")
			}
			if given.AccessKey != "" {
				if err := readKeys(cmd.InOrStdin(), &given, token); err != nil {
					return err
				}
			}
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				old, err := m.Fleet.DB.CloudByName(ctx, fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				if err := m.ChangeCloud(ctx, fleet.DefaultAccount, old.ID, changed(old, given, cmd.Flags()), operator()); err != nil {
					return err
				}
				now, err := m.Fleet.DB.Cloud(ctx, old.ID)
				if err != nil {
					return err
				}
				return a.printClouds(cmd, m, []store.Cloud{now}, "changed")
			})
		},
	})
	cloudFlags(cmd, &given, &token)
	cmd.Flags().StringVar(&given.Name, "name", "", "new `name`")
	cmd.MarkFlagsOneRequired("name", "region", "endpoint-url", "access-key", "ambient", "role-arn", "external-id", "discover", "description")
	return cmd
}

// changed is a cloud as it is, with the options that were given in their places.
func changed(old store.Cloud, given launch.CloudSpec, flags *pflag.FlagSet) launch.CloudSpec {
	spec := launch.CloudSpec{
		Name: old.Name, Description: old.Description, Region: old.Region, EndpointURL: old.EndpointURL,
		AccessKey: old.AccessKey, Ambient: old.Credentials == store.CredentialsAmbient,
		RoleARN: old.RoleARN, ExternalID: old.ExternalID, Discover: old.Discover,
		SecretKey: given.SecretKey, SessionToken: given.SessionToken, Unchecked: given.Unchecked,
	}
	for name, take := range map[string]func(){
		"name":         func() { spec.Name = given.Name },
		"description":  func() { spec.Description = given.Description },
		"region":       func() { spec.Region = given.Region },
		"endpoint-url": func() { spec.EndpointURL = given.EndpointURL },
		"access-key":   func() { spec.AccessKey, spec.Ambient = given.AccessKey, given.AccessKey == "" && spec.Ambient },
		"ambient":      func() { spec.Ambient, spec.AccessKey = given.Ambient, "" },
		"role-arn":     func() { spec.RoleARN = given.RoleARN },
		"external-id":  func() { spec.ExternalID = given.ExternalID },
		"discover":     func() { spec.Discover = given.Discover },
	} {
		if flags.Changed(name) {
			take()
		}
	}
	return spec
}
