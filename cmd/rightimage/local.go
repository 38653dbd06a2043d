// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/machine"
)

const localHelp = `Run a small cloud on this machine: the EC2 API and the EBS direct API on a
loopback port, several regions, and instances that are QEMU machines booted from
your images, with the metadata service at 169.254.169.254.

It runs until you stop it with Ctrl-C, and ends its instances then; images and
snapshots stay in the state directory for the next time. Point any AWS tool at it:

    rightimage local &
    export AWS_ENDPOINT_URL=http://127.0.0.1:4566
    export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=us-east-1
    aws ec2 describe-images --owners self

Guests are cut off from the network, except for the metadata service and the
addresses that you forward. By default 169.254.169.253:443 leads to a platform
(rightscaled) on 127.0.0.1:8443.

Without QEMU, or to be quick, --no-boot makes instances mere records.
To rehearse failures, see "rightimage local fault --help".`

// localFlags are the flags of "rightimage local" in the form in which they come.
type localFlags struct {
	cfg      local.Config
	forwards []string
	secret   string
	verbose  bool
}

func localCommand() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Run a small cloud on this machine, to try images without an AWS account",
		Long:  localHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runLocal(cmd, f) },
	}
	cmd.PersistentFlags().StringVar(&f.cfg.StateDir, "state", defaultStateDir(), "directory that holds all state (env RIGHTIMAGE_LOCAL_STATE)")
	flags := cmd.Flags()
	flags.StringVar(&f.cfg.Listen, "listen", local.DefaultListen, "loopback address of the APIs; port 0 picks a free one, see local.json in the state directory")
	flags.BoolVar(&f.cfg.NoBoot, "no-boot", false, "boot nothing: instances are only records")
	flags.StringArrayVar(&f.forwards, "forward", []string{"169.254.169.253:443=127.0.0.1:8443"}, "let guests reach GUESTIP:PORT=HOST:PORT; repeatable, replaces the default")
	flags.StringVar(&f.cfg.AccessKey, "access-key", "", "accept only this access key and verify signatures (default: accept any)")
	flags.StringVar(&f.secret, "secret-key", os.Getenv("RIGHTIMAGE_LOCAL_SECRET_KEY"), "secret of --access-key (env RIGHTIMAGE_LOCAL_SECRET_KEY)")
	flags.Lookup("secret-key").DefValue = ""
	flags.IntVar(&f.cfg.MemoryMiB, "memory", 1024, "memory of each instance in MiB")
	flags.IntVar(&f.cfg.CPUs, "cpus", 2, "virtual CPUs of each instance")
	flags.IntVar(&f.cfg.SSHPort, "ssh-port", 2222, "port for ssh at the addresses of instances where port 22 cannot be had")
	flags.StringSliceVar(&f.cfg.Regions, "regions", nil, "the regions there are (default: sixteen of AWS's)")
	flags.StringVar(&f.cfg.Account, "account", local.DefaultAccount, "account id that owns everything")
	flags.StringArrayVar(&f.cfg.Deny, "deny", nil, "answer \"not authorized\" to an action, such as ec2:RegisterImage or ebs:*; repeatable")
	flags.DurationVar(&f.cfg.Settle, "settle", local.DefaultSettle, "how long a completed snapshot still shows itself pending")
	flags.DurationVar(&f.cfg.StopBound, "stop-bound", local.DefaultStopBound, "how long a guest may take to shut down before its plug is pulled")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every call")
	cmd.AddCommand(relayCommand(), faultCommand(&f.cfg.StateDir), certificateCommand(&f.cfg.StateDir))
	return cmd
}

// defaultStateDir follows the XDG base directories.
func defaultStateDir() string {
	if dir := os.Getenv("RIGHTIMAGE_LOCAL_STATE"); dir != "" {
		return dir
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = os.TempDir()
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "rightimage", "local")
}

func runLocal(cmd *cobra.Command, f localFlags) error {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	f.cfg.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	f.cfg.SecretKey = secret.String(f.secret)
	for _, text := range f.forwards {
		fwd, err := parseForward(text)
		if err != nil {
			return err
		}
		f.cfg.Forwards = append(f.cfg.Forwards, fwd)
	}
	dir, err := filepath.Abs(f.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("--state %q: %w", f.cfg.StateDir, err)
	}
	f.cfg.StateDir = dir
	server, err := local.New(f.cfg)
	if err != nil {
		return err
	}
	greet(cmd.OutOrStdout(), server.Info(), f.cfg)
	start := time.Now()
	err = server.Run(cmd.Context())
	f.cfg.Log.Info("local cloud stopped", "after", time.Since(start).Round(time.Second))
	return err
}

// parseForward reads GUESTIP:PORT=HOST:PORT.
func parseForward(text string) (machine.Forward, error) {
	fail := func(why string) (machine.Forward, error) {
		return machine.Forward{}, fmt.Errorf("--forward %q: %s; write GUESTIP:PORT=HOST:PORT, such as 169.254.169.253:443=127.0.0.1:8443", text, why)
	}
	guest, host, ok := strings.Cut(text, "=")
	if !ok {
		return fail("there is no =")
	}
	addr, err := netip.ParseAddrPort(guest)
	if err != nil || !netip.MustParsePrefix("169.254.169.0/24").Contains(addr.Addr()) {
		return fail("the guest's side must be an address in 169.254.169.0/24 with a port")
	}
	if addr.Addr().String() == "169.254.169.254" {
		return fail("169.254.169.254 is the metadata service")
	}
	if _, port, err := net.SplitHostPort(host); err != nil {
		return fail("the host's side must be HOST:PORT")
	} else if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fail("the host's port must be between 1 and 65535")
	}
	return machine.Forward{GuestAddr: addr.Addr().String(), GuestPort: int(addr.Port()), HostAddr: host}, nil
}

// greet tells where the server listens and how to use it.
func greet(w io.Writer, info local.Info, cfg local.Config) {
	key, secretHint := "local", "local"
	if cfg.AccessKey != "" {
		key, secretHint = cfg.AccessKey, "..."
	}
	boot := "instances are QEMU machines"
	if info.NoBoot {
		boot = "instances are records only (--no-boot)"
	}
	fmt.Fprintf(w, `Local cloud at %s: %s; account %s; %s
State: %s

  export AWS_ENDPOINT_URL=%s
  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s AWS_REGION=%s

Press Ctrl-C to stop it.
`, info.Endpoint, local.Services, info.Account, boot, cfg.StateDir, info.Endpoint, key, secretHint, exampleRegion(info.Regions))
}

func exampleRegion(regions []string) string {
	if slices.Contains(regions, "us-east-1") {
		return "us-east-1"
	}
	return regions[0]
}
