// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

const initHelp = `Makes the data directory, when there is none yet, and the first person who may
log in: an admin with a password that is printed this once. It is stored as a hash
only; "rightscaled user passwd" makes a new one if it is lost.

It does nothing when there are people already.`

func (a *app) init() *cobra.Command {
	var email string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "init", Short: "Make the first login and print it once", Long: initHelp, Args: cobra.NoArgs,
		Example: "  rightscaled init --email you@example.net",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				n, err := s.DB.CountUsers(cmd.Context())
				if err != nil {
					return err
				}
				if n > 0 {
					return fmt.Errorf("there are people already; add others with \"rightscaled user add\", or make a new password with \"rightscaled user passwd\"")
				}
				password := access.NewPassword()
				people := access.New(s.DB, s.Now)
				if _, err := people.AddUser(cmd.Context(), fleet.DefaultAccount, access.NewUser{Email: email, Password: password, Roles: []access.Role{access.Admin}}, operator()); err != nil {
					return err
				}
				return a.printLogin(cmd, email, "password", password.Reveal())
			})
		},
	})
	cmd.Flags().StringVar(&email, "email", "admin@localhost", "`address` to log in with")
	return cmd
}

// printLogin prints a secret that is shown this once.
func (a *app) printLogin(cmd *cobra.Command, email, what, plain string) error {
	if a.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"email": email, "account": fleet.DefaultAccount, what: plain})
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "account   %d\nemail     %s\n%-9s %s\n", fleet.DefaultAccount, email, what, plain)
	return err
}
