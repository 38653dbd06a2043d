// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const runScriptHelp = `Asks the server's running instance to run a script of the account. The agent
gets it at once over its connection, and writes the output to an audit entry.
Scripts of one thread run one after another, those of different threads beside
each other. With --wait, the command ends with the script and prints its output;
the exit code is 1 if it did not succeed.

The instance's state does not change, whatever the script does. A request that
the agent does not take within a day is dropped.`

func (a *app) serverRunScript() *cobra.Command {
	var inputs []string
	var req fleet.RunRequest
	var wait time.Duration
	cmd := a.jsonFlag(&cobra.Command{
		Use: "run-script NAME SCRIPT [--input NAME=VALUE ...]", Short: "Run a script on a server's instance", Long: runScriptHelp,
		Args: cobra.ExactArgs(2), Example: "  rightscaled server run-script web-1 \"Rotate logs\" --input KEEP=text:7 --wait 5m",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			req.Script, req.By = args[1], operator()
			if req.Inputs, err = parseInputs(inputs); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				id, err := s.RunScript(cmd.Context(), fleet.DefaultAccount, args[0], req)
				if err != nil {
					return err
				}
				if wait > 0 {
					return a.awaitScript(cmd, s, id, wait)
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), map[string]int64{"audit_id": id})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "queued; \"rightscaled audit show %d\" shows the output\n", id)
				return err
			})
		},
	})
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "`NAME=VALUE` of an input, before the server's own; may be repeated")
	cmd.Flags().StringVar(&req.Thread, "thread", "", "run queue on the instance (default \"default\")")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait for the end, for at most this `time`, such as 5m")
	return cmd
}

// operator names who uses the command line.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username + " (command line)"
	}
	return "command line"
}

// byOperator is operator in the account that the command line works on.
func byOperator() fleet.By { return fleet.By{Account: fleet.DefaultAccount, Who: operator()} }

// awaitScript waits until the agent says how the script ended.
func (a *app) awaitScript(cmd *cobra.Command, s *fleet.Service, id int64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	v, err := ended(ctx, s, id)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the script has not ended within %s; \"rightscaled audit show %d\" shows its output", limit, id)
	case err != nil:
		return err
	}
	return a.printRun(cmd, v, strings.HasPrefix(v.Summary, "Aborted: "))
}

// ended waits for the audit entry of a script that has ended.
func ended(ctx context.Context, s *fleet.Service, id int64) (fleet.AuditView, error) {
	for {
		v, err := s.AuditEntry(ctx, fleet.DefaultAccount, id)
		if err != nil || strings.HasPrefix(v.Summary, "Completed: ") || strings.HasPrefix(v.Summary, "Aborted: ") {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (a *app) printRun(cmd *cobra.Command, v fleet.AuditView, failed bool) error {
	var err error
	if a.json {
		err = printJSON(cmd.OutOrStdout(), v)
	} else {
		_, err = fmt.Fprint(cmd.OutOrStdout(), *v.Detail)
	}
	if failed {
		return errors.Join(err, errors.New(v.Summary))
	}
	return err
}

func (a *app) serverShutdown() *cobra.Command {
	var kind string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "shutdown NAME --kind reboot|stop|terminate", Short: "Decommission a server's instance and shut it down", Args: cobra.ExactArgs(1),
		Long: "Asks the agent to run the decommission scripts and then to reboot the machine or\nto power it off. Terminated means that the platform is done with the instance; to\nremove the machine itself is the cloud's task.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				if err := s.Shutdown(cmd.Context(), byOperator(), args[0], kind); err != nil {
					return err
				}
				return a.tell(cmd, map[string]any{"server": args[0], "action": kind}, "asked the instance of server %q to %s\n", args[0], kind)
			})
		},
	})
	cmd.Flags().StringVar(&kind, "kind", "", "reboot, stop or terminate")
	_ = cmd.MarkFlagRequired("kind")
	return cmd
}

func (a *app) serverTag() *cobra.Command {
	var add, remove []string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "tag NAME [--add TAG ...] [--remove TAG ...]", Short: "Show and change the tags of a server's instance", Args: cobra.ExactArgs(1),
		Long: "Tags are namespace:predicate=value, or plain words. Adding one replaces that of the\nsame namespace and predicate. The tags belong to the current instance.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				tags, err := s.TagServer(cmd.Context(), byOperator(), args[0], add, remove)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), append([]string{}, tags...))
				}
				for _, t := range tags {
					if _, err := fmt.Fprintln(cmd.OutOrStdout(), t); err != nil {
						return err
					}
				}
				return nil
			})
		},
	})
	cmd.Flags().StringArrayVar(&add, "add", nil, "`tag` to add; may be repeated")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "`tag` to remove; may be repeated")
	return cmd
}

// login administers who may log in where the agent manages logins.
func (a *app) login() *cobra.Command {
	var u store.LoginUser
	var keyFiles []string
	var lasts time.Duration
	set := &cobra.Command{
		Use: "set USER --key-file FILE.pub", Short: "Let a person log in to instances with managed login", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.Username = args[0]
			for _, file := range keyFiles {
				raw, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("--key-file: %w", err)
				}
				u.PublicKeys = append(u.PublicKeys, strings.TrimSpace(string(raw)))
			}
			if lasts > 0 {
				u.ExpiresAt = time.Now().Add(lasts)
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				return s.SetLoginUser(cmd.Context(), byOperator(), u)
			})
		},
	}
	set.Flags().StringArrayVar(&keyFiles, "key-file", nil, "public key `file`; may be repeated")
	set.Flags().BoolVar(&u.Superuser, "superuser", false, "may use sudo")
	set.Flags().DurationVar(&lasts, "for", 0, "only for this `time`, such as 8h (default: until removed)")
	remove := &cobra.Command{
		Use: "remove USER", Short: "Shut a person out", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				return s.RemoveLoginUser(cmd.Context(), byOperator(), args[0])
			})
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List who may log in", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				users, err := s.DB.LoginUsers(cmd.Context(), fleet.DefaultAccount)
				rows := make([]string, len(users))
				for i, u := range users {
					until := "-"
					if !u.ExpiresAt.IsZero() {
						until = u.ExpiresAt.Format(clockForm)
					}
					rows[i] = fmt.Sprintf("%s\t%t\t%d\t%s", u.Username, u.Superuser, len(u.PublicKeys), until)
				}
				return errors.Join(err, table(cmd.OutOrStdout(), "USER\tSUPERUSER\tKEYS\tUNTIL", rows...))
			})
		},
	}
	return group("login", "People who may log in to instances", "Managed login is off on an instance until features.yml there (managed_login.enable)\nor PUT /rll/login/control turns it on.", set, remove, list)
}
