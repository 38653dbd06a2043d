// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/discover"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

func (a *app) cloud() *cobra.Command {
	return group("cloud", "Clouds: where machines are launched and found",
		"A cloud is one region of EC2, or of what speaks its API such as \"rightimage local\",\ntogether with credentials. The platform launches servers there, and lists what runs\nthere every minute or so.",
		a.cloudAdd(), a.cloudSet(), a.cloudList(), a.cloudShow(), a.cloudRemove(), a.cloudDiscover())
}

// machines opens the data directory for a command that acts in clouds.
func (a *app) machines(cmd *cobra.Command, fn func(context.Context, *launch.Service) error) error {
	return a.with(cmd.Context(), func(s *fleet.Service) error {
		return fn(cmd.Context(), launch.New(s, slog.New(slog.DiscardHandler)))
	})
}

const cloudAddHelp = `Adds a cloud after having asked it whether the credentials work.

Credentials are either an access key, whose secret key is read from standard input
and sealed in the database, or --ambient ones: those that the AWS tools would find
in the environment of the process that makes the call ("serve", or a command), such
as an instance role. --role-arn is assumed with them.

The credentials need: ec2:DescribeInstances, DescribeImages, DescribeRegions,
DescribeAvailabilityZones, DescribeInstanceTypes, DescribeSubnets,
DescribeSecurityGroups and DescribeKeyPairs for discovery; RunInstances, CreateTags,
TerminateInstances, StopInstances, StartInstances and RebootInstances to launch.`

func (a *app) cloudAdd() *cobra.Command {
	var spec launch.CloudSpec
	var token bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "add NAME --region REGION (--access-key ID | --ambient)", Short: "Add a cloud", Long: cloudAddHelp, Args: cobra.ExactArgs(1),
		Example: "  printf %s \"$SECRET_KEY\" | rightscaled cloud add ireland --region eu-west-1 --access-key AKIA...\n" +
			"  rightscaled cloud add aws --all-regions --ambient --role-arn arn:aws:iam::123456789012:role/rightscaled\n" +
			"  printf local | rightscaled cloud add local --region us-east-1 --endpoint-url http://127.0.0.1:4566 --access-key local",
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			if spec.AccessKey != "" {
				if err := readKeys(cmd.InOrStdin(), &spec, token); err != nil {
					return err
				}
			}
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				made, err := m.AddCloud(ctx, fleet.DefaultAccount, spec, operator())
				if err != nil {
					return err
				}
				return a.printClouds(cmd, m, made, "added")
			})
		},
	})
	flags := cmd.Flags()
	cloudFlags(cmd, &spec, &token)
	flags.BoolVar(&spec.AllRegions, "all-regions", false, "a cloud for each region that the account has, named \"NAME REGION\"; run it again for new ones")
	cmd.MarkFlagsMutuallyExclusive("region", "all-regions")
	return cmd
}

// cloudFlags are those of a cloud that is added, and of one that is changed.
func cloudFlags(cmd *cobra.Command, spec *launch.CloudSpec, token *bool) {
	flags := cmd.Flags()
	flags.StringVar(&spec.Region, "region", "", "`region`, such as eu-west-1")
	flags.StringVar(&spec.EndpointURL, "endpoint-url", "", "`URL` of the API (default: AWS's own, or $AWS_ENDPOINT_URL)")
	flags.StringVar(&spec.AccessKey, "access-key", "", "`id` of an access key; its secret key comes from standard input")
	flags.BoolVar(token, "session-token", false, "a session token comes from standard input too, on a second line")
	flags.BoolVar(&spec.Ambient, "ambient", false, "credentials from the environment of the process that makes the call")
	flags.StringVar(&spec.RoleARN, "role-arn", "", "`role` to assume")
	flags.StringVar(&spec.ExternalID, "external-id", "", "external `id` that the role asks for")
	flags.DurationVar(&spec.Discover, "discover", launch.DefaultDiscover, "longest `time` between two listings; 0 for none")
	flags.StringVar(&spec.Description, "description", "", "what it is for")
	flags.BoolVar(&spec.Unchecked, "no-check", false, "do not ask the cloud whether the credentials work")
	cmd.MarkFlagsMutuallyExclusive("access-key", "ambient")
}

// readKeys reads the secret key, and the session token if there is one.
func readKeys(in io.Reader, spec *launch.CloudSpec, token bool) error {
	raw, err := io.ReadAll(io.LimitReader(in, 1<<16))
	if err != nil {
		return fmt.Errorf("read the secret key from standard input: %w", err)
	}
	lines := strings.Fields(string(raw))
	want := 1
	if token {
		want = 2
	}
	if len(lines) != want {
		return fmt.Errorf("standard input: want %d lines (secret key%s), got %d; try: printf %%s \"$SECRET_KEY\" | rightscaled cloud (command)", want, map[bool]string{true: ", session token"}[token], len(lines))
	}
	spec.SecretKey = secret.String(lines[0])
	if token {
		spec.SessionToken = secret.String(lines[1])
	}
	return nil
}

func (a *app) printClouds(cmd *cobra.Command, m *launch.Service, clouds []store.Cloud, done string) error {
	views := make([]launch.CloudView, 0, len(clouds))
	for _, c := range clouds {
		v, err := m.ViewCloud(cmd.Context(), c)
		if err != nil {
			return err
		}
		views = append(views, v)
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), views)
	}
	for _, v := range views {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s cloud %q (id %d, region %s)\n", done, v.Name, v.ID, v.Region); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) cloudList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the clouds", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				clouds, err := m.Clouds(ctx, fleet.DefaultAccount)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), clouds)
				}
				rows := make([]string, len(clouds))
				for i, v := range clouds {
					rows[i] = fmt.Sprintf("%d\t%s\t%s\t%s\t%d\t%d\t%s", v.ID, v.Name, dash(v.Region), v.Credentials, v.Instances, v.Images, listedAt(v))
				}
				return table(cmd.OutOrStdout(), "ID\tNAME\tREGION\tCREDENTIALS\tINSTANCES\tIMAGES\tLISTED", rows...)
			})
		},
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// listedAt is when a cloud was last listed, and what is wrong with it now.
func listedAt(v launch.CloudView) string {
	text := "never"
	if !v.DiscoveredAt.IsZero() {
		text = v.DiscoveredAt.Format(clockForm)
	}
	if v.DiscoverError != "" {
		text += " (" + v.DiscoverError + ")"
	}
	return text
}

func (a *app) cloudShow() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "show NAME", Short: "Show a cloud with its images", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				c, err := m.Fleet.DB.CloudByName(ctx, fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				v, err := m.ViewCloud(ctx, c)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), v)
				}
				images, err := m.Fleet.DB.Images(ctx, c.ID, false)
				if err != nil {
					return err
				}
				return showCloud(cmd.OutOrStdout(), v, images)
			})
		},
	})
}

func showCloud(w io.Writer, v launch.CloudView, images []store.Image) error {
	rows := []string{fmt.Sprintf("id\t%d", v.ID), "region\t" + dash(v.Region), "credentials\t" + v.Credentials}
	for _, opt := range [][2]string{{"endpoint", v.EndpointURL}, {"access key", v.AccessKey}, {"role", v.RoleARN}, {"external id", v.ExternalID}, {"account", v.CloudAccount}, {"description", v.Description}} {
		if opt[1] != "" {
			rows = append(rows, opt[0]+"\t"+opt[1])
		}
	}
	every := "never"
	if v.Discover > 0 {
		every = "at least every " + (time.Duration(v.Discover) * time.Second).String()
	}
	rows = append(rows, "discovery\t"+every, "listed\t"+listedAt(v), fmt.Sprintf("instances\t%d", v.Instances))
	for _, i := range images {
		rows = append(rows, fmt.Sprintf("image %s\t%s (%s, %s)", i.ResourceUID, i.Name, i.CPUArchitecture, i.Visibility))
	}
	return table(w, "name\t"+v.Name, rows...)
}

func (a *app) cloudRemove() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "remove NAME", Short: "Forget a cloud", Args: cobra.ExactArgs(1),
		Long: "Forgets a cloud, its images, and the instances in it that no server has. It ends no\nmachine; a cloud that servers use stays.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				if err := m.RemoveCloud(ctx, fleet.DefaultAccount, args[0], operator()); err != nil {
					return err
				}
				return a.tell(cmd, map[string]any{"cloud": args[0], "action": "remove"}, "removed cloud %q\n", args[0])
			})
		},
	})
}

func (a *app) cloudDiscover() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "discover [NAME ...]", Short: "List clouds now, without waiting for serve",
		Long: "Lists instances, images and what else a launch can name, in the named clouds or in\nall that have credentials. \"serve\" does this by itself.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				clouds, err := cloudsNamed(ctx, m.Fleet.DB, args)
				if err != nil {
					return err
				}
				d := discover.New(m)
				reports, rows := map[string]discover.Report{}, []string{}
				var errs []error
				for _, c := range clouds {
					r, err := d.Once(ctx, c)
					if err != nil {
						errs = append(errs, fmt.Errorf("cloud %q: %w", c.Name, err))
						continue
					}
					reports[c.Name] = r
					rows = append(rows, fmt.Sprintf("%s\t%d\t%d\t%d\t%d", c.Name, r.Listed, r.Appeared, r.Changed, r.Vanished))
				}
				if a.json {
					errs = append(errs, printJSON(cmd.OutOrStdout(), reports))
				} else {
					errs = append(errs, table(cmd.OutOrStdout(), "CLOUD\tLISTED\tAPPEARED\tCHANGED\tVANISHED", rows...))
				}
				return errors.Join(errs...)
			})
		},
	})
}

// cloudsNamed finds the named clouds, or all that can be listed.
func cloudsNamed(ctx context.Context, db *store.DB, names []string) (list []store.Cloud, err error) {
	if len(names) == 0 {
		all, err := db.Clouds(ctx, fleet.DefaultAccount)
		for _, c := range all {
			if c.Credentials != store.CredentialsNone {
				list = append(list, c)
			}
		}
		return list, err
	}
	for _, name := range names {
		c, err := db.CloudByName(ctx, fleet.DefaultAccount, name)
		if err != nil {
			return nil, fmt.Errorf("%w; \"rightscaled cloud list\" shows them", err)
		}
		list = append(list, c)
	}
	return list, nil
}
