// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// attestFlags are what "serve" asks of all instances.
func attestFlags(flags *pflag.FlagSet, a *fleet.Attestation) {
	flags.StringArrayVar(&a.Trust.Files, "identity-certificates", nil, "PEM `file` with further certificates of identity documents; repeatable; a header line \"Region: NAME\" in a block limits it to a region")
	flags.BoolVar(&a.Trust.NoAWS, "no-aws-certificates", false, "do not believe the built-in certificates of AWS")
	flags.StringArrayVar(&a.Rules.Accounts, "allow-account", nil, "cloud `account` whose instances may enrol; repeatable (default: any)")
	flags.StringArrayVar(&a.Rules.Regions, "allow-region", nil, "`region` whose instances may enrol; repeatable (default: any)")
	flags.StringArrayVar(&a.Rules.Images, "allow-image", nil, "`image` whose instances may enrol; repeatable (default: any)")
	flags.BoolVar(&a.RequireExpected, "require-expected", false, "let in only instances named with \"server expect\" or \"server create --expect\"")
	flags.DurationVar(&a.MaxAge, "document-age", fleet.DefaultDocumentAge, "how long after its launch an instance may enrol for the first time")
	flags.DurationVar(&a.KeyLifetime, "key-lifetime", fleet.DefaultKeyLifetime, "after how long an instance is asked for a new key")
}

func (a *app) serverExpect() *cobra.Command {
	var anyAge, any bool
	cmd := &cobra.Command{
		Use: "expect NAME [INSTANCE-ID ...]", Short: "Say which instance may enrol as a server", Args: cobra.MinimumNArgs(1),
		Long: "Names the instance that was launched for a server, or a list of those of which one\nmay enrol. Others are refused, even with the right token. The list belongs to the\nserver's current token; \"server relaunch\" begins with none.",
		Example: "  id=$(aws ec2 run-instances ... --query 'Instances[0].InstanceId' --output text)\n" +
			"  rightscaled server expect web-1 $id",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ids := args[0], args[1:]
			switch {
			case len(ids) == 0 && !any:
				return errors.New("name the instance that is expected, or give --any for all")
			case len(ids) > 0 && any:
				return errors.New("--any: no instance id may stand beside it")
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				if err := s.Expect(cmd.Context(), byOperator(), name, store.Expected{Instances: ids, AnyAge: anyAge}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "server %q expects %s\n", name, expectation(ids))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&any, "any", false, "any instance again")
	cmd.Flags().BoolVar(&anyAge, "any-age", false, "also if it was launched longer ago than serve's --document-age: a machine that ran before it was connected")
	return cmd
}

func expectation(ids []string) string {
	switch len(ids) {
	case 0:
		return "any instance"
	case 1:
		return ids[0]
	}
	return fmt.Sprintf("one of %d instances", len(ids))
}
