// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/ebs"
	"github.com/rightimage/packer-plugin-rightimage/local/ec2"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/iam"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/local/machine"
	"github.com/rightimage/packer-plugin-rightimage/local/s3"
	"github.com/rightimage/packer-plugin-rightimage/local/ssm"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Info is what a running local cloud writes to STATE/local.json.
type Info struct {
	Endpoint      string   `json:"endpoint"`
	PID           int      `json:"pid"`
	ControlSocket string   `json:"control_socket"`
	Account       string   `json:"account"`
	Regions       []string `json:"regions"`
	NoBoot        bool     `json:"no_boot"`
}

// ErrNotRunning is returned by ReadInfo when no local cloud uses the directory.
var ErrNotRunning = errors.New("no local cloud is running")

// ReadInfo reads the local.json of a state directory.
func ReadInfo(stateDir string) (Info, error) {
	var info Info
	data, err := os.ReadFile(filepath.Join(stateDir, "local.json"))
	if errors.Is(err, os.ErrNotExist) {
		return info, fmt.Errorf("%w with the state directory %s; start one with \"rightimage local\", or name its directory with --state", ErrNotRunning, stateDir)
	}
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	if err != nil {
		return info, fmt.Errorf("read local.json: %w", err)
	}
	return info, nil
}

// Server is one local cloud. New binds its ports, Run serves until told to stop.
type Server struct {
	cfg      Config
	store    *store.Store
	fleet    *fleet
	faults   *fault.Set
	api      net.Listener
	control  net.Listener
	handler  http.Handler
	info     Info
	stopJobs context.CancelFunc
}

// New opens the state and binds the ports, so that Info is known before Run.
// The caller must call Run, which also cleans up.
func New(cfg Config) (_ *Server, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	if why := missingQEMU(); why != "" && !cfg.NoBoot {
		cfg.Log.Warn("instances are only records", "because", why)
		cfg.NoBoot = true
	}
	s := &Server{cfg: cfg, faults: &fault.Set{}}
	var authority *imds.Authority
	if !cfg.NoBoot {
		if authority, err = imds.OpenAuthority(cfg.StateDir); err != nil {
			return nil, err
		}
	}
	for _, d := range cfg.Deny {
		rule, err := fault.ParseDeny(d)
		if err == nil {
			_, err = s.faults.Add(rule)
		}
		if err != nil {
			return nil, fmt.Errorf("deny %q: %w", d, err)
		}
	}
	if s.store, err = store.Open(cfg.StateDir, cfg.Now); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	if s.api, err = net.Listen("tcp", cfg.Listen); err != nil { //nolint:noctx // listening on this machine does not wait
		return nil, fmt.Errorf("listen (is another local cloud running? choose a port with --listen): %w", err)
	}
	socket, err := controlSocket(cfg.StateDir)
	if err == nil {
		s.control, err = net.Listen("unix", socket) //nolint:noctx // see above
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open control socket: %w", err), s.api.Close())
	}
	s.info = Info{
		Endpoint: "http://" + s.api.Addr().String(), PID: os.Getpid(), ControlSocket: socket,
		Account: cfg.Account, Regions: cfg.Regions, NoBoot: cfg.NoBoot,
	}
	s.wire(authority)
	return s, nil
}

const tempPrefix = "rightimage-local-"

// controlSocket picks the socket's path. A unix socket's path has at most about
// 100 bytes, so a long state directory gets one in a private temporary directory.
func controlSocket(stateDir string) (string, error) {
	path := filepath.Join(stateDir, "control.sock")
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if len(path) > 100 {
		dir, err := os.MkdirTemp("", tempPrefix)
		if err != nil {
			return "", err
		}
		return filepath.Join(dir, "control.sock"), nil
	}
	// The lock on the state directory is ours, so an old socket is a dead one.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return path, nil
}

// wire puts the parts together.
func (s *Server) wire(authority *imds.Authority) {
	jobs, stop := context.WithCancel(context.Background())
	s.stopJobs = stop
	s.fleet = &fleet{ctx: jobs, store: s.store, cfg: s.cfg, log: s.cfg.Log, machines: records{}, locks: map[string]*sync.Mutex{}}
	if !s.cfg.NoBoot {
		s.fleet.machines = machine.New(machine.Options{OnEvent: s.fleet.exited, Log: s.cfg.Log, Authority: authority})
	}
	identity := &iam.Service{Store: s.store, Account: s.cfg.Account, Log: s.cfg.Log}
	s.handler = &front{
		keys:    call.Keys{AccessKey: s.cfg.AccessKey, Secret: s.cfg.SecretKey, Derive: identity.Secret},
		regions: s.cfg.Regions, account: s.cfg.Account, faults: s.faults, store: s.store, now: s.cfg.Now, log: s.cfg.Log,
		ec2: &ec2.Service{Store: s.store, Fleet: s.fleet, Account: s.cfg.Account, Regions: s.cfg.Regions, Settle: s.cfg.Settle, Log: s.cfg.Log},
		iam: identity,
		ssm: &ssm.Service{Store: s.store, Account: s.cfg.Account, Log: s.cfg.Log},
		s3:  &s3.Service{Store: s.store, Account: s.cfg.Account, Log: s.cfg.Log},
		ebs: &ebs.Service{Store: s.store, Account: s.cfg.Account, Settle: s.cfg.Settle, Log: s.cfg.Log},
	}
}

// missingQEMU says why no machine can be booted here, "" when one can.
func missingQEMU() string {
	for _, program := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (Debian: apt install qemu-system-x86 qemu-utils)"
		}
	}
	return ""
}

// Info tells where the server listens.
func (s *Server) Info() Info { return s.info }

// Faults are the rules by which calls go wrong.
func (s *Server) Faults() *fault.Set { return s.faults }

// Run serves until ctx ends, then ends all machines and closes the state.
func (s *Server) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	if err := errors.Join(s.fleet.settle(), s.fleet.purge()); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s.info, "", "  ")
	if err != nil {
		return fmt.Errorf("write local.json: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.cfg.StateDir, "local.json"), append(data, '\n'), 0o600); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, s.api, s.handler) })
	group.Go(func() error { return serve(ctx, s.control, fault.Handler(s.faults)) })
	group.Go(func() error { return s.tidy(ctx) })
	return group.Wait()
}

// tidy drops what was terminated long ago, now and then.
func (s *Server) tidy(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.fleet.purge(); err != nil {
				s.cfg.Log.Warn("purge terminated instances", "error", err)
			}
		}
	}
}

// close ends machines first: their jobs return once the machines are gone.
func (s *Server) close() error {
	s.stopJobs()
	errs := []error{s.fleet.machines.Close()}
	s.fleet.wg.Wait()
	errs = append(errs, s.fleet.settle(), s.store.Close())
	for _, l := range []net.Listener{s.api, s.control} {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if dir := filepath.Dir(s.info.ControlSocket); dir != s.cfg.StateDir && strings.HasPrefix(filepath.Base(dir), tempPrefix) {
		errs = append(errs, os.Remove(dir))
	}
	if err := os.Remove(filepath.Join(s.cfg.StateDir, "local.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// serve runs an HTTP server until ctx ends; calls under way get a moment.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends calls that only wait
	}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		err := srv.Shutdown(bound)
		if err != nil {
			err = srv.Close() // hang up on those that took too long
		}
		stopped <- err
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}
