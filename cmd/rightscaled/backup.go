// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const backupHelp = `Writes everything that the database holds, as it is at one moment, into FILE, or to
standard output for "-". The platform may run meanwhile. The file fits SQLite and
PostgreSQL alike, so that it is also the way from one to the other.

Tokens and credentials in it are sealed: without secret.key it gives them away to
nobody, and is worth little to you. Keep that file, and DIR/tls, somewhere else.`

func (a *app) backup() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write all data into a file, while the platform runs", Long: backupHelp, Args: cobra.ExactArgs(1),
		Example: "  rightscaled backup /backup/rightscaled-$(date +%F).gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				if args[0] == "-" {
					_, err := s.DB.Backup(cmd.Context(), cmd.OutOrStdout(), time.Now())
					return err
				}
				rows, err := writeBackup(cmd.Context(), s.DB, args[0])
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d rows in %s; keep secret.key and tls/ apart from it\n", rows, args[0])
				return err
			})
		},
	}
}

// writeBackup puts the file in its place when it is complete.
func writeBackup(ctx context.Context, db *store.DB, file string) (rows int64, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".backup-") // private from birth
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	rows, err = db.Backup(ctx, tmp, time.Now())
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return rows, err
	}
	return rows, errors.Join(os.Rename(tmp.Name(), file), atomicfile.SyncDir(filepath.Dir(file)))
}

const restoreHelp = `Fills a database from a backup: the one that --database names, or DIR/rightscaled.db.
It must be empty, so that nothing is lost; stop the platform, and move the old database
away, if there is one. FILE may be of an older version and of another kind of database.

Then put the secret.key that belongs to the backup into DIR, and tls/ if the agents
shall go on trusting this platform.`

func (a *app) restore() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty database from a backup", Long: restoreHelp, Args: cobra.ExactArgs(1),
		Example: "  rightscaled restore --data /var/lib/rightscaled --database postgres://rightscaled@db/rightscaled backup.gz",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkData(); err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			rows, err := a.fill(cmd.Context(), f)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored %d rows\n", rows)
			if _, missing := os.Stat(a.place().Key()); err == nil && errors.Is(missing, os.ErrNotExist) {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "now put the secret.key that belongs to the backup at %s\n", a.place().Key())
			}
			return err
		},
	}
}

func (a *app) fill(ctx context.Context, from io.ReadSeeker) (int64, error) {
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		return 0, fmt.Errorf("open data directory: %w", err)
	}
	return store.Restore(ctx, a.place().Location(), from)
}
