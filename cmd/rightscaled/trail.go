// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

const clockForm = "2006-01-02 15:04:05"

func (a *app) instance() *cobra.Command {
	var raw, living bool
	list := a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the instances that have enrolled, were launched or were found, living or not", Args: cobra.NoArgs,
		Long: "An instance that no server has is raw: discovery has found it in a cloud.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				instances, err := s.Instances(cmd.Context(), fleet.DefaultAccount)
				if err != nil {
					return err
				}
				instances = slices.DeleteFunc(instances, func(v fleet.InstanceView) bool { return raw && !v.Raw || living && !v.EndedAt.IsZero() })
				if a.json {
					return printJSON(cmd.OutOrStdout(), instances)
				}
				rows := make([]string, len(instances))
				for i, v := range instances {
					enrolled := "-"
					if !v.EnrolledAt.IsZero() {
						enrolled = v.EnrolledAt.Format(clockForm)
					}
					owner := v.Server
					if v.Raw {
						owner = "(raw) " + v.Name
					}
					rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", dash(v.ResourceUID), v.State, dash(v.CloudState), owner, dash(v.RightLinkVersion), enrolled)
				}
				return table(cmd.OutOrStdout(), "INSTANCE\tSTATE\tCLOUD SAYS\tSERVER\tRIGHTLINK\tENROLLED", rows...)
			})
		},
	})
	list.Flags().BoolVar(&raw, "raw", false, "only those that no server has")
	list.Flags().BoolVar(&living, "living", false, "only those that have not ended")
	return group("instance", "Instances: machines, enrolled or found", "", list, a.instanceRunScript())
}

func (a *app) audit() *cobra.Command {
	return group("audit", "Audit entries: what happened", "The audit trail holds what the platform did (servers, tokens, enrolments,\nstates) and what agents report (the output of scripts).", a.auditList(), a.auditShow())
}

func (a *app) auditList() *cobra.Command {
	var server string
	var limit int
	var follow bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List audit entries, oldest first", Args: cobra.NoArgs,
		Example: "  rightscaled audit list --server web-1 --follow",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if follow && a.json {
				return fmt.Errorf("--follow and --json do not go together")
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				entries, err := s.AuditEntries(cmd.Context(), fleet.DefaultAccount, server, 0, limit)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), entries)
				}
				if follow {
					return followAudit(cmd, s, server, entries)
				}
				rows := make([]string, len(entries))
				for i, v := range entries {
					rows[i] = fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%d", v.ID, v.At.Format(clockForm), dash(v.Server), dash(v.UserEmail), v.Summary, v.DetailSize)
				}
				return table(cmd.OutOrStdout(), "ID\tTIME\tSERVER\tBY\tSUMMARY\tDETAIL", rows...)
			})
		},
	})
	cmd.Flags().StringVar(&server, "server", "", "only entries of this server and its instances")
	cmd.Flags().IntVar(&limit, "limit", 0, "only the newest `n` entries (0: all)")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on printing new entries until interrupted")
	return cmd
}

// followPause is how often new entries are looked for.
const followPause = time.Second

func followAudit(cmd *cobra.Command, s *fleet.Service, server string, entries []fleet.AuditView) error {
	last := int64(0)
	for {
		for _, v := range entries {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d  %s  %s  %s\n", v.ID, v.At.Format(clockForm), v.Server, v.Summary); err != nil {
				return err
			}
			last = v.ID
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(followPause):
		}
		var err error
		if entries, err = s.AuditEntries(cmd.Context(), fleet.DefaultAccount, server, last, 0); err != nil && cmd.Context().Err() == nil {
			return err
		}
	}
}

func (a *app) auditShow() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "show ID", Short: "Show an audit entry with its detail text", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("%q is not the id of an audit entry; \"rightscaled audit list\" shows them", args[0])
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				v, err := s.AuditEntry(cmd.Context(), fleet.DefaultAccount, id)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), v)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "id       %d\ntime     %s\nserver   %s\nby       %s\nauditee  %s\nsummary  %s\n\n%s", v.ID, v.At.Format(clockForm), v.Server, dash(v.UserEmail), v.AuditeeHref, v.Summary, *v.Detail)
				return err
			})
		},
	})
}

func (a *app) credential() *cobra.Command {
	var description string
	set := a.jsonFlag(&cobra.Command{
		Use: "set NAME", Short: "Store a credential; the value comes from standard input", Args: cobra.ExactArgs(1),
		Long:    "Stores a secret value, encrypted, for inputs of the form cred:NAME. The value is\nread from standard input, without the line end after it, so that it is in no\ncommand line. An instance gets it with its scripts only.",
		Example: "  printf %s \"$PASSWORD\" | rightscaled credential set DB_PASSWORD",
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<20))
			if err != nil {
				return fmt.Errorf("read the value from standard input: %w", err)
			}
			value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
			if value == "" {
				return fmt.Errorf("standard input is empty; try: printf %%s VALUE | rightscaled credential set %s", args[0])
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				if err := s.SetCredential(cmd.Context(), byOperator(), args[0], description, secret.String(value)); err != nil {
					return err
				}
				return a.tell(cmd, map[string]any{"credential": args[0], "action": "set"}, "stored credential %q\n", args[0])
			})
		},
	})
	set.Flags().StringVar(&description, "description", "", "what it is for")
	list := a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the names of credentials", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listCredentials(cmd) },
	})
	return group("credential", "Credentials: secret values for inputs", "", set, list)
}

func (a *app) listCredentials(cmd *cobra.Command) error {
	type view struct {
		Name        string    `json:"name"`
		Description string    `json:"description"`
		CreatedAt   time.Time `json:"created_at"`
		UpdatedAt   time.Time `json:"updated_at"`
	}
	return a.with(cmd.Context(), func(s *fleet.Service) error {
		creds, err := s.DB.Credentials(cmd.Context(), fleet.DefaultAccount)
		if err != nil {
			return err
		}
		views, rows := []view{}, []string{}
		for _, c := range creds {
			views = append(views, view{c.Name, c.Description, c.CreatedAt, c.UpdatedAt})
			rows = append(rows, c.Name+"\t"+c.UpdatedAt.Format(clockForm)+"\t"+c.Description)
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), views)
		}
		return table(cmd.OutOrStdout(), "NAME\tCHANGED\tDESCRIPTION", rows...)
	})
}
