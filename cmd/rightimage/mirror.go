// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/mirror/repo"
)

const mirrorHelp = `Make and carry a mirror of RightLink packages and patches. A mirror is a folder of
plain files for any web server, bucket or CDN. Instances trust it through signed
metadata (TUF), from the root of trust on that their image was made with.

    rightimage mirror init   DIR --keys KEYS
    rightimage mirror add    DIR --keys KEYS --channel stable rightlink_*.deb
    rightimage mirror sign   DIR --keys KEYS            # every day, by a job
    rightimage mirror serve  DIR
    rightimage mirror sync   URL DIR --root root.json   # a copy, checked

docs/mirror.md tells the rest.`

func mirrorCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "mirror", Short: "Make and carry mirrors of RightLink packages", Long: mirrorHelp, Args: noArguments, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(mirrorInit(), mirrorAdd(), mirrorRemove(), mirrorSign(), mirrorList(), mirrorServe(), mirrorSync(), mirrorPackage(), mirrorPatch())
	return cmd
}

// mirrorFlags are those of every command that signs.
type mirrorFlags struct {
	keys   string
	expiry repo.Expiry
}

func (f *mirrorFlags) add(cmd *cobra.Command) {
	f.expiry = repo.DefaultExpiry()
	cmd.Flags().StringVar(&f.keys, "keys", "", "folder with the private keys, outside of the mirror (required)")
	cmd.Flags().DurationVar(&f.expiry.Root, "expire-root", f.expiry.Root, "how long a signature of the root holds")
	cmd.Flags().DurationVar(&f.expiry.Targets, "expire-targets", f.expiry.Targets, "how long a signature of the list of packages holds")
	cmd.Flags().DurationVar(&f.expiry.Snapshot, "expire-snapshot", f.expiry.Snapshot, "how long a signature of the snapshot holds")
	cmd.Flags().DurationVar(&f.expiry.Timestamp, "expire-timestamp", f.expiry.Timestamp, "how long a signature of the timestamp holds: the longest that an old state can be shown to instances")
	_ = cmd.MarkFlagRequired("keys")
}

func (f *mirrorFlags) open(dir string) (*repo.Repo, error) {
	for name, d := range map[string]time.Duration{"--expire-root": f.expiry.Root, "--expire-targets": f.expiry.Targets, "--expire-snapshot": f.expiry.Snapshot, "--expire-timestamp": f.expiry.Timestamp} {
		if d < time.Minute {
			return nil, usageError{fmt.Errorf("%s: %s is too short; the least is 1m", name, d)}
		}
	}
	return repo.Open(dir, repo.Keys{Dir: f.keys}, f.expiry)
}

func mirrorInit() *cobra.Command {
	var f mirrorFlags
	cmd := &cobra.Command{
		Use: "init DIR", Short: "Make an empty mirror and its keys", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := repo.Init(args[0], repo.Keys{Dir: f.keys}, f.expiry)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `Made the mirror %s and its keys in %s.
Root of trust for images (option mirror_root_file): %s
Put root.key and targets.key on a machine without network, with a copy elsewhere;
snapshot.key and timestamp.key sign every day: rightimage mirror sign
`, args[0], f.keys, r.RootFile())
			return err
		},
	}
	f.add(cmd)
	return cmd
}

func mirrorAdd() *cobra.Command {
	var f mirrorFlags
	var channels []string
	cmd := &cobra.Command{
		Use: "add DIR FILE...", Short: "Add packages and patches; with --channel, point channels to their version",
		Long: `Add packages and patches. Names say what they are:
  rightlink_<version>_<amd64|arm64>.deb, .rpm or .tar.gz
  rightlink-patch_<version>_<number>_<arch>.tar.gz
  rightscale_<version>-<distro>_<os version>-<arch>.deb or .rpm (the original's)

A file that was published once never changes. With --channel and --version instead
of files, channels are moved to a version that is there: also back.`,
		Args: cobra.MinimumNArgs(1),
	}
	version := cmd.Flags().String("version", "", "point --channel to this version that the mirror has, without adding files")
	cmd.Flags().StringSliceVar(&channels, "channel", nil, "channel that points to this version from now on; repeat for more")
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := f.open(args[0])
		if err != nil {
			return err
		}
		switch {
		case *version != "" && len(args) == 1 && len(channels) > 0:
			return r.Point(*version, channels...)
		case *version != "":
			return usageError{errors.New("--version: give --channel too, and no files")}
		case len(args) == 1:
			return usageError{errors.New("no file to add")}
		}
		added, err := r.Add(args[1:], channels)
		return lines(cmd.OutOrStdout(), "added ", added, err)
	}
	return cmd
}

func lines(w io.Writer, prefix string, list []string, err error) error {
	for _, l := range list {
		fmt.Fprintln(w, prefix+l)
	}
	return err
}

func mirrorRemove() *cobra.Command {
	var f mirrorFlags
	cmd := &cobra.Command{
		Use: "remove DIR VERSION|FILE...", Short: "Withdraw a version or a file", Args: cobra.MinimumNArgs(2),
		Long: "Withdraw versions or single files: the metadata does not vouch for them any more,\nso that no instance installs them. The files themselves stay.",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.open(args[0])
			if err != nil {
				return err
			}
			gone, err := r.Remove(args[1:]...)
			return lines(cmd.OutOrStdout(), "withdrew ", gone, err)
		},
	}
	f.add(cmd)
	return cmd
}

func mirrorSign() *cobra.Command {
	var f mirrorFlags
	var roles, rotate []string
	cmd := &cobra.Command{
		Use: "sign DIR", Short: "Renew signatures before they expire; replace keys", Args: cobra.ExactArgs(1),
		Long: `Renew the signatures of snapshot and timestamp, which needs their keys only: a job
does it every day. --role renews targets or root as well.

--rotate gives roles new keys. The old root key signs the new root, so that
images with the old root follow; old keys go to a folder old-<time>.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.open(args[0])
			if err != nil {
				return err
			}
			if len(rotate) > 0 {
				if err := r.Rotate(rotate...); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "New keys for %s; new root of trust: %s\n", strings.Join(rotate, ", "), r.RootFile())
			} else if err := r.Sign(roles...); err != nil {
				return err
			}
			for _, role := range r.Expiring(60 * 24 * time.Hour) {
				if role == "root" || role == "targets" {
					fmt.Fprintf(cmd.ErrOrStderr(), "The signature of %s ends within 60 days; renew it with --role %s\n", role, role)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", nil, "renew targets or root too")
	cmd.Flags().StringSliceVar(&rotate, "rotate", nil, "roles that get new keys: root, targets, snapshot, timestamp")
	f.add(cmd)
	return cmd
}

func mirrorList() *cobra.Command {
	return &cobra.Command{
		Use: "list DIR", Short: "List what a mirror has", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := repo.Open(args[0], repo.Keys{}, repo.DefaultExpiry())
			if err != nil {
				return err
			}
			return lines(cmd.OutOrStdout(), "", r.Targets(), nil)
		},
	}
}

// readRoot reads a root of trust that an option names.
func readRoot(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--root: %w", err)
	}
	return data, nil
}
