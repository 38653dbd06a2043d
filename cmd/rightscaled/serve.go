// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/api"
	"github.com/rightimage/packer-plugin-rightimage/platform/discover"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/metrics"
	"github.com/rightimage/packer-plugin-rightimage/platform/pki"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/web"
)

type serveOptions struct {
	listen    string
	hostnames []string
	logFormat string
	logLevel  string
	attest    fleet.Attestation
	tls       tlsOptions
	metrics   string
	auditDays int
	drain     time.Duration
}

const serveHelp = `Answers RightLink agents over https until it gets SIGINT or SIGTERM.

The first start makes a certificate authority and a server certificate in
DIR/tls; give DIR/tls/ca.pem (see "rightscaled ca") to the images that enrol
here. The certificate holds localhost, 127.0.0.1, 169.254.169.253 and every
--hostname, and is renewed by itself.

The first --hostname is the name under which instances reach the platform; it is
written into their user-data as RS_server and may carry a port ("10.0.0.5:8443").
169.254.169.253 is the platform's address inside "rightimage local".

Instances enrol by showing EC2's signed identity document (docs/enrolment.md). The
certificates that AWS publishes for its regions are built in; those of other clouds,
such as "rightimage local certificate", come with --identity-certificates. Say with
--allow-account whose instances are yours: without it, an instance of any account
that has a server's token may use it, once.

Any number of replicas may serve one PostgreSQL database (--database), each with a
data directory of its own that holds the same secret.key and tls/; see
docs/operations.md. On SIGTERM a replica finishes what it has begun, and agents go on
with another one.

People use the dashboard at https://HOST/ (docs/dashboard.md); "rightscaled init" prints
the first login.

While it runs, DIR/serve.json tells the endpoint and the process id.`

func (a *app) serve() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use: "serve", Short: "Answer RightLink agents", Long: serveHelp, Args: cobra.NoArgs,
		Example: "  rightscaled serve --data ./platform --listen 127.0.0.1:8443 --hostname 169.254.169.253",
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd.ErrOrStderr(), o)
			if err != nil {
				return err
			}
			if err := o.attest.Trust.Check(); err != nil {
				return fmt.Errorf("--identity-certificates: %w", err)
			}
			if err := o.tls.check(); err != nil {
				return err
			}
			if o.auditDays < 0 || o.drain < 0 {
				return errors.New("--audit-days, --drain-time: want no negative number")
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				s.Attest = o.attest
				return a.runServe(cmd.Context(), s, o, log)
			})
		},
	}
	cmd.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` to listen on; port 0 picks one, see DIR/serve.json")
	cmd.Flags().StringArrayVar(&o.hostnames, "hostname", nil, "`name` or address, with an optional port, of this platform; the first is its public name")
	cmd.Flags().StringVar(&o.logFormat, "log-format", "text", "text or json")
	cmd.Flags().StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&o.metrics, "metrics-listen", "", "`address` for Prometheus, such as 127.0.0.1:9187; it has no login, so keep it on loopback (default: none)")
	cmd.Flags().IntVar(&o.auditDays, "audit-days", 0, "remove audit entries that are older than so many `days`; 0 keeps them for ever")
	cmd.Flags().DurationVar(&o.drain, "drain-time", 0, "after SIGTERM, go on for so long while the health check fails, so that a load balancer looks elsewhere")
	o.tls.flags(cmd.Flags())
	attestFlags(cmd.Flags(), &o.attest)
	return cmd
}

func newLog(w io.Writer, o serveOptions) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", o.logLevel)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	default:
		return nil, fmt.Errorf("--log-format %q: want text or json", o.logFormat)
	}
}

// runServe is the life of the server: names, certificate, socket, settings,
// requests.
func (a *app) runServe(ctx context.Context, s *fleet.Service, o serveOptions, log *slog.Logger) error {
	names, err := certificateNames(o.hostnames)
	if err != nil {
		return err
	}
	certs := &certKeeper{dir: filepath.Join(a.data, "tls"), names: names}
	if _, err := certs.get(); err != nil {
		return err
	}
	secure, err := o.tls.config(s, certs, o.hostnames, log)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	public := publicHost(o.hostnames, l.Addr())
	if err := s.DB.SetSetting(ctx, fleet.SettingPublicHost, public); err != nil {
		return errors.Join(err, l.Close())
	}
	remove, err := a.writeServeFile(l.Addr(), public)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer remove()
	if len(o.attest.Rules.Accounts) == 0 && !o.attest.RequireExpected {
		log.Warn("instances of any cloud account may enrol with a token; name yours with --allow-account")
	}
	m, machines := metrics.New(), launch.New(s, log)
	ui, err := web.New(s, access.New(s.DB, s.Now), web.Options{Log: log, Machines: machines, Clouds: machines})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := api.New(s, api.Options{Log: log, PublicHost: public, Names: names, UI: ui.Handler(), Machines: machines, Observer: m, TLS: secure, Drain: o.drain})
	stop, err := background(ctx, s, srv, machines, o, m, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer stop()
	log.Info("serving", "endpoint", endpoint(l.Addr()), "public_host", public, "names", names, "ca", filepath.Join(certs.dir, "ca.pem"))
	// Nothing comes of this where systemd has not asked for it.
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	stopping := context.AfterFunc(ctx, func() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) })
	defer stopping()
	err = srv.Serve(ctx, l, certs.get)
	log.Info("stopped")
	return err
}

// background starts what runs beside the requests.
func background(ctx context.Context, s *fleet.Service, srv *api.Server, machines *launch.Service, o serveOptions, m *metrics.Metrics, log *slog.Logger) (stop func(), err error) {
	if err := m.Add(metrics.Source{DB: s.DB, Agents: srv.Agents, Events: srv.Events}); err != nil {
		return nil, err
	}
	stopMetrics, err := serveMetrics(ctx, o.metrics, m, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { upkeep(ctx, s, o.auditDays, m, log) })
	running.Go(func() { machines.Run(ctx) })
	running.Go(func() { discover.New(machines).Run(ctx) })
	return func() { cancel(); running.Wait(); stopMetrics() }, nil
}

// certificateNames are the standard names and the host parts of --hostname.
func certificateNames(hostnames []string) ([]string, error) {
	names := []string{"localhost", "127.0.0.1", "169.254.169.253"}
	for _, h := range hostnames {
		if err := userdata.CheckServer(h); err != nil {
			return nil, fmt.Errorf("--hostname %w", err)
		}
		host := h
		if name, _, err := net.SplitHostPort(h); err == nil {
			host = name
		}
		host = strings.Trim(host, "[]")
		if !slices.Contains(names, host) {
			names = append(names, host)
		}
	}
	return names, nil
}

// publicHost is the first --hostname, or where we listen.
func publicHost(hostnames []string, listen net.Addr) string {
	if len(hostnames) > 0 {
		return hostnames[0]
	}
	return hostPort(listen)
}

func endpoint(listen net.Addr) string { return "https://" + hostPort(listen) }

// hostPort replaces "all addresses" by one that can be called.
func hostPort(listen net.Addr) string {
	host, port, err := net.SplitHostPort(listen.String())
	if err != nil {
		return listen.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (a *app) writeServeFile(listen net.Addr, public string) (remove func(), err error) {
	path := filepath.Join(a.data, "serve.json")
	raw, err := json.MarshalIndent(map[string]any{"endpoint": endpoint(listen), "public_host": public, "pid": os.Getpid()}, "", "  ")
	if err != nil {
		return nil, err
	}
	return func() { _ = os.Remove(path) }, atomicfile.Write(path, append(raw, '\n'), 0o644)
}

// certKeeper holds the certificate and renews it in time.
type certKeeper struct {
	dir   string
	names []string

	mu   sync.Mutex
	cert *tls.Certificate
}

func (k *certKeeper) get() (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cert == nil || pki.NeedsRenewal(*k.cert, time.Now()) {
		cert, err := pki.Ensure(k.dir, k.names, time.Now())
		if err != nil {
			return nil, err
		}
		k.cert = &cert
	}
	return k.cert, nil
}

func (a *app) ca() *cobra.Command {
	return &cobra.Command{
		Use: "ca", Short: "Print the CA certificate that images must trust (PEM)", Args: cobra.NoArgs,
		Long:    "Prints the certificate of the platform's own CA. Put it into images as\n/etc/rightscale.d/ca.pem (option platform_ca_file of the provisioner).",
		Example: "  rightscaled ca > ca.pem\n  curl --cacert ca.pem https://localhost:8443/api/health-check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkData(); err != nil {
				return err
			}
			dir := filepath.Join(a.data, "tls")
			raw, err := pki.CA(dir)
			if errors.Is(err, os.ErrNotExist) {
				// Images are often built before the first start.
				names, nerr := certificateNames(nil)
				if nerr != nil {
					return nerr
				}
				if _, err = pki.Ensure(dir, names, time.Now()); err == nil {
					raw, err = pki.CA(dir)
				}
			}
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(raw)
			return err
		},
	}
}
