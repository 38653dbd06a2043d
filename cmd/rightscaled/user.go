// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

const userHelp = `People log in to the dashboard and to the API with email and password; programs
such as rsc and right_st use a refresh token of a person. Roles:

  observer   sees everything but secrets
  operator   observer, and runs servers (actor)
  actor      changes servers, instances, deployments, inputs, credentials, tags
  designer   changes ServerTemplates, RightScripts, MultiCloudImages
  publisher  publishes
  admin      all of them, reads credentials and manages people

Every role includes observer. A change counts at once, also for open sessions.`

func (a *app) user() *cobra.Command {
	return group("user", "People who may log in to the platform", userHelp, a.userAdd(), a.userList(), a.userRoles(), a.userPasswd(), a.userRemove(), a.userToken(), a.userTokens(), a.userRevoke())
}

// people runs fn on the people of the data directory.
func (a *app) people(cmd *cobra.Command, fn func(*access.Service) error) error {
	return a.with(cmd.Context(), func(s *fleet.Service) error { return fn(access.New(s.DB, s.Now)) })
}

func (a *app) userAdd() *cobra.Command {
	var roles []string
	var stdin, none bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "add EMAIL --role ROLE", Short: "Let a person log in", Args: cobra.ExactArgs(1),
		Long:    "Adds a person. Without --password-stdin and --no-password a password is made and\nprinted this once.",
		Example: "  rightscaled user add ann@example.net --role operator --role designer",
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := access.ParseRoles(roles)
			if err != nil {
				return fmt.Errorf("--role: %w", err)
			}
			u := access.NewUser{Email: args[0], Roles: list}
			made := false
			switch {
			case none && stdin:
				return fmt.Errorf("--no-password and --password-stdin do not go together")
			case !none:
				if u.Password, made, err = newPassword(cmd, stdin); err != nil {
					return err
				}
			}
			return a.people(cmd, func(s *access.Service) error {
				if _, err := s.AddUser(cmd.Context(), fleet.DefaultAccount, u, operator()); err != nil {
					return err
				}
				if made {
					return a.printLogin(cmd, args[0], "password", u.Password.Reveal())
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "added user %q\n", args[0])
				return err
			})
		},
	})
	cmd.Flags().StringArrayVar(&roles, "role", nil, "`role`, see \"rightscaled user --help\"; may be repeated")
	_ = cmd.MarkFlagRequired("role")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	cmd.Flags().BoolVar(&none, "no-password", false, "no password: for a program that uses refresh tokens only")
	return cmd
}

// newPassword reads a password from standard input, or makes one.
func newPassword(cmd *cobra.Command, stdin bool) (p secret.String, made bool, err error) {
	if !stdin {
		return access.NewPassword(), true, nil
	}
	raw, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 4096))
	if err != nil {
		return "", false, fmt.Errorf("read the password from standard input: %w", err)
	}
	return secret.String(strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")), false, nil
}

func (a *app) userList() *cobra.Command {
	type view struct {
		Email     string    `json:"email"`
		Roles     []string  `json:"roles"`
		Password  bool      `json:"has_password"`
		CreatedAt time.Time `json:"created_at"`
	}
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the people and their roles", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.people(cmd, func(s *access.Service) error {
				users, err := s.Users(cmd.Context(), fleet.DefaultAccount)
				if err != nil {
					return err
				}
				views, rows := []view{}, []string{}
				for _, u := range users {
					views = append(views, view{u.Email, u.Roles, u.Password != "", u.CreatedAt})
					rows = append(rows, fmt.Sprintf("%s\t%s\t%t", u.Email, strings.Join(u.Roles, ","), u.Password != ""))
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), views)
				}
				return table(cmd.OutOrStdout(), "EMAIL\tROLES\tPASSWORD", rows...)
			})
		},
	})
}

func (a *app) userRoles() *cobra.Command {
	return &cobra.Command{
		Use: "roles EMAIL ROLE ...", Short: "Replace a person's roles", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			roles, err := access.ParseRoles(args[1:])
			if err != nil {
				return err
			}
			return a.people(cmd, func(s *access.Service) error {
				return s.SetRoles(cmd.Context(), fleet.DefaultAccount, args[0], roles, operator())
			})
		},
	}
}

func (a *app) userPasswd() *cobra.Command {
	var stdin bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "passwd EMAIL", Short: "Give a person a new password", Args: cobra.ExactArgs(1),
		Long: "Makes a new password and prints it this once, or takes one from standard input.\nSessions that the old password began end; refresh tokens stay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, made, err := newPassword(cmd, stdin)
			if err != nil {
				return err
			}
			return a.people(cmd, func(s *access.Service) error {
				if err := s.SetPassword(cmd.Context(), fleet.DefaultAccount, args[0], password, operator()); err != nil || !made {
					return err
				}
				return a.printLogin(cmd, args[0], "password", password.Reveal())
			})
		},
	})
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

func (a *app) userRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove EMAIL", Short: "Shut a person out", Args: cobra.ExactArgs(1),
		Long: "Removes a person with all sessions and refresh tokens. What the person did stays\nin the audit trail.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.people(cmd, func(s *access.Service) error {
				return s.RemoveUser(cmd.Context(), fleet.DefaultAccount, args[0], operator())
			})
		},
	}
}

func (a *app) userToken() *cobra.Command {
	var name string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "token EMAIL [--name NAME]", Short: "Make a refresh token for a program", Args: cobra.ExactArgs(1),
		Long:    "Prints a refresh token this once; it is stored as a hash only. It acts as the\nperson, with the roles that the person has at the time, until it is revoked.",
		Example: "  rsc --host rs.example.net --refreshToken \"$(rightscaled user token ci@example.net --json | jq -r .token)\" --account 1 cm15 index clouds",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.people(cmd, func(s *access.Service) error {
				plain, err := s.NewRefreshToken(cmd.Context(), fleet.DefaultAccount, args[0], name, operator())
				if err != nil {
					return err
				}
				return a.printLogin(cmd, args[0], "token", plain.Reveal())
			})
		},
	})
	cmd.Flags().StringVar(&name, "name", "command line", "what the token is for")
	return cmd
}

func (a *app) userTokens() *cobra.Command {
	type view struct {
		ID        int64     `json:"id"`
		Name      string    `json:"name"`
		CreatedAt time.Time `json:"created_at"`
		UsedAt    time.Time `json:"used_at,omitzero"`
	}
	return a.jsonFlag(&cobra.Command{
		Use: "tokens EMAIL", Short: "List the refresh tokens of a person", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.people(cmd, func(s *access.Service) error {
				tokens, err := s.RefreshTokens(cmd.Context(), fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				views, rows := []view{}, []string{}
				for _, t := range tokens {
					used := "never"
					if !t.UsedAt.IsZero() {
						used = t.UsedAt.Format(clockForm)
					}
					views = append(views, view{t.ID, t.Name, t.CreatedAt, t.UsedAt})
					rows = append(rows, fmt.Sprintf("%d\t%s\t%s\t%s", t.ID, t.Name, t.CreatedAt.Format(clockForm), used))
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), views)
				}
				return table(cmd.OutOrStdout(), "ID\tNAME\tCREATED\tUSED", rows...)
			})
		},
	})
}

func (a *app) userRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke EMAIL TOKEN-ID", Short: "End a refresh token and its sessions", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return fmt.Errorf("%q is not the id of a token; \"rightscaled user tokens %s\" shows them", args[1], args[0])
			}
			return a.people(cmd, func(s *access.Service) error {
				return s.RevokeRefreshToken(cmd.Context(), fleet.DefaultAccount, args[0], id, operator())
			})
		},
	}
}
