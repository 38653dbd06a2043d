// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package chain

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// GuestPlatform is the address under which guests of the local cloud see the
// platform.
const GuestPlatform = "169.254.169.253"

// Platform is a running rightscaled.
type Platform struct {
	env  *Env
	Data string
	Addr string // host:port on loopback
	CA   string // path of the CA certificate
	// Identity is the certificate of the local cloud's identity documents.
	Identity string
	proc     *Process
}

// Server is a line of "rightscaled server list --json".
type Server struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Instance *struct {
		ResourceUID string `json:"resource_uid"`
		State       string `json:"state"`
		Href        string `json:"href"`
	} `json:"instance"`
}

// StartPlatform starts rightscaled on a free port of the loopback interface
// and waits for its health check.
func (e *Env) StartPlatform(ctx context.Context) (*Platform, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	p := &Platform{env: e, Data: filepath.Join(e.Work, "platform"), Addr: addr}
	p.CA = filepath.Join(p.Data, "tls", "ca.pem")
	p.Identity = filepath.Join(e.Work, "identity.pem")
	if _, err := e.Command(ctx, nil, e.Bin("rightimage"), "local", "certificate", "--state", e.cloudState(), "--output", p.Identity); err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

// Start starts the platform on its data folder.
func (p *Platform) Start(ctx context.Context) error {
	proc, err := p.env.Start(ctx, "platform", nil, p.env.Bin("rightscaled"),
		"serve", "--data", p.Data, "--listen", p.Addr, "--hostname", GuestPlatform,
		"--identity-certificates", p.Identity, "--no-aws-certificates", "--allow-account", "000000000000")
	if err != nil {
		return err
	}
	p.proc = proc
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return Until(ctx, 100*time.Millisecond, "the platform answers", func(ctx context.Context) (bool, error) {
		select {
		case <-proc.Done():
			return false, fmt.Errorf("rightscaled ended at once:\n%s", tail(filepath.Join(p.env.Logs, "platform.log"), 10))
		default:
		}
		return p.healthy(ctx), nil
	})
}

func (p *Platform) healthy(ctx context.Context) bool {
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		return false
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.Addr+"/api/health-check", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Admin runs an administration command, such as "server", "list", "--json".
func (p *Platform) Admin(ctx context.Context, args ...string) (string, error) {
	return p.env.Command(ctx, []string{"RIGHTSCALED_DATA=" + p.Data}, p.env.Bin("rightscaled"), args...)
}

// SetCredential stores a credential; its value goes through standard input, so
// that it stands in no process list.
func (p *Platform) SetCredential(ctx context.Context, name, value string) error {
	cmd := exec.CommandContext(ctx, p.env.Bin("rightscaled"), "credential", "set", name)
	cmd.Env = append(os.Environ(), "RIGHTSCALED_DATA="+p.Data)
	cmd.Stdin = strings.NewReader(value)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("rightscaled credential set %s: %w: %s", name, err, out)
	}
	return nil
}

// Servers lists the servers.
func (p *Platform) Servers(ctx context.Context) ([]Server, error) {
	out, err := p.Admin(ctx, "server", "list", "--json")
	if err != nil {
		return nil, err
	}
	var list []Server
	return list, json.Unmarshal([]byte(out), &list)
}

// Server returns one server by name.
func (p *Platform) Server(ctx context.Context, name string) (Server, error) {
	list, err := p.Servers(ctx)
	if err != nil {
		return Server{}, err
	}
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
	}
	return Server{}, fmt.Errorf("no server %q on the platform", name)
}

// AuditText is every audit entry of a server, oldest first, with its detail.
func (p *Platform) AuditText(ctx context.Context, server string) (string, error) {
	out, err := p.Admin(ctx, "audit", "list", "--server", server, "--json")
	if err != nil {
		return "", err
	}
	var list []struct {
		ID int64 `json:"id"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, entry := range list {
		out, err := p.Admin(ctx, "audit", "show", strconv.FormatInt(entry.ID, 10))
		if err != nil {
			return "", err
		}
		text.WriteString(out)
	}
	return text.String(), nil
}

// errStranded ends a wait for operational early.
var errStranded = errors.New("the server is stranded")

// WaitState waits until the server is in one of the given states and tells each
// change.
func (p *Platform) WaitState(ctx context.Context, name string, want ...string) error {
	last := ""
	return Until(ctx, 2*time.Second, fmt.Sprintf("server %q is %s (last state: see above)", name, strings.Join(want, " or ")), func(ctx context.Context) (bool, error) {
		s, err := p.Server(ctx, name)
		if err != nil {
			return false, err
		}
		if s.State != last {
			p.env.Say("platform: server %q is %s", name, s.State)
			last = s.State
		}
		if s.State == "stranded" && !slices.Contains(want, "stranded") {
			return false, fmt.Errorf("%w: %s", errStranded, name)
		}
		return slices.Contains(want, s.State), nil
	})
}

func freeAddr(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
