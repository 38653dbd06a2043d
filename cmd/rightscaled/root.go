// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// app holds the options that all commands share.
type app struct {
	data     string
	database string
	key      string
	json     bool
}

const rootHelp = `rightscaled is the platform that RightLink agents enrol with.

"serve" answers the agents. All other commands work on the same data directory,
also while "serve" runs. The usual way from nothing to a running server:

  export RIGHTSCALED_DATA=/var/lib/rightscaled
  rightscaled init --email you@example.net    # prints the first login
  rightscaled serve --listen 0.0.0.0:443 --hostname rs.example.net &
  rightscaled server-template upload web.yml
  printf %s "$PASSWORD" | rightscaled credential set DB_PASSWORD
  rightscaled server create web-1 --server-template "Web" --input DB_PASSWORD=cred:DB_PASSWORD
  rightscaled server user-data web-1          # give this to the cloud at launch, or:
  printf %s "$SECRET_KEY" | rightscaled cloud add ireland --region eu-west-1 --access-key AKIA...
  rightscaled server set web-1 --cloud ireland --image ami-0abc
  rightscaled server launch web-1
  rightscaled server list
  rightscaled audit list --server web-1`

func root() *cobra.Command {
	a := &app{}
	cmd := &cobra.Command{
		Use:           "rightscaled",
		Short:         "The platform: enrolment, servers, ServerTemplates, audit",
		Long:          rootHelp,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().StringVar(&a.data, "data", os.Getenv("RIGHTSCALED_DATA"), "data `directory` (default: $RIGHTSCALED_DATA)")
	cmd.PersistentFlags().StringVar(&a.database, "database", "", "`URL` of a PostgreSQL database, postgres://USER@HOST/NAME, or path of a SQLite file (default: $RIGHTSCALED_DATABASE, else DIR/rightscaled.db)")
	cmd.PersistentFlags().StringVar(&a.key, "key-file", os.Getenv("RIGHTSCALED_KEY_FILE"), "`file` with the key that opens sealed values (default: $RIGHTSCALED_KEY_FILE, else DIR/secret.key)")
	cmd.AddCommand(a.backup(), a.restore(), a.init(), a.cloud(), a.user(), a.serve(), a.serverTemplate(), a.server(), a.instance(), a.audit(), a.credential(), a.login(), a.ca())
	return cmd
}

// group makes a command that only holds others. A wrong name below it is an
// error, not a help text with exit code 0.
func group(use, short, long string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q; see \"%s --help\"", args[0], cmd.CommandPath())
		}
		return nil
	}, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(sub...)
	return cmd
}

func (a *app) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

// with opens the data directory for one command.
func (a *app) with(ctx context.Context, fn func(*fleet.Service) error) error {
	if err := a.checkData(); err != nil {
		return err
	}
	s, err := fleet.OpenAt(ctx, a.place())
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.Close())
}

func (a *app) place() fleet.Place {
	p := fleet.Place{Dir: a.data, Database: a.database, KeyFile: a.key}
	if p.Database == "" { // no default of the option: the help would show the password
		p.Database = os.Getenv("RIGHTSCALED_DATABASE")
	}
	return p
}

func (a *app) checkData() error {
	if a.data == "" {
		return errors.New("the data directory is not set; give --data DIR or set RIGHTSCALED_DATA")
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// tell says what was done: a line, or the fields as JSON.
func (a *app) tell(cmd *cobra.Command, fields map[string]any, format string, args ...any) error {
	if a.json {
		return printJSON(cmd.OutOrStdout(), fields)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

// table prints rows in columns.
func table(w io.Writer, head string, rows ...string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([]string{head}, rows...) {
		if _, err := fmt.Fprintln(tw, row); err != nil {
			return err
		}
	}
	return tw.Flush()
}
