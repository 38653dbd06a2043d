// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/api"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/pki"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/web"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/agent"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

const (
	email    = "operator@example.net"
	password = "correct horse battery"
)

// platform is a started platform with its API, its router and its dashboard on
// one listener, as "rightscaled serve" has them.
type platform struct {
	t     *testing.T
	fleet *fleet.Service
	base  string
	cloud *cloud
}

func startPlatform(t *testing.T) *platform {
	t.Helper()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(context.Background())
	f, err := fleet.Open(ctx, dir)
	require.NoError(t, err)
	people := access.New(f.DB, time.Now)
	people.Cost = access.Cost{Time: 1, Memory: 8, Threads: 1} // of passwords: next to nothing
	for mail, role := range map[string]access.Role{email: access.Operator, "admin@example.net": access.Admin} {
		_, err = people.AddUser(ctx, fleet.DefaultAccount, access.NewUser{Email: mail, Password: password, Roles: []access.Role{role}}, "test")
		require.NoError(t, err)
	}
	names := []string{"localhost", "127.0.0.1"}
	cert, err := pki.Ensure(filepath.Join(dir, "tls"), names, time.Now())
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, f.DB.SetSetting(ctx, fleet.SettingPublicHost, l.Addr().String()))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	p := &platform{t: t, fleet: f, base: "https://" + l.Addr().String()}
	p.cloud = &cloud{t: t, platform: p, ca: filepath.Join(dir, "tls", "ca.pem")}
	ui, err := web.New(f, people, web.Options{Log: log, Machines: p.cloud})
	require.NoError(t, err)
	done := make(chan error, 1)
	srv := api.New(f, api.Options{Log: log, PublicHost: l.Addr().String(), Names: names, UI: ui.Handler()})
	go func() { done <- srv.Serve(ctx, l, func() (*tls.Certificate, error) { return &cert, nil }) }()
	t.Cleanup(func() {
		p.cloud.end()
		stop()
		require.NoError(t, <-done)
		require.NoError(t, f.Close())
	})
	p.upload()
	_, err = f.DB.CreateCloud(ctx, store.Cloud{AccountID: fleet.DefaultAccount, Name: "Frankfurt", Type: "amazon", Region: "eu-central-1", Credentials: store.CredentialsAmbient}, time.Now())
	require.NoError(t, err)
	return p
}

// The operational script waits for files, so that the test decides when a line
// is written.
var templateFiles = map[string]string{
	"web.yml": "Name: Web server\nDescription: Serves the site of the shop.\nInputs: {}\nRightScripts:\n  Boot:\n    - boot.sh\n  Operational:\n    - count.sh\n    - rotate.sh\n  Decommission:\n    - bye.sh\n" +
		"MultiCloudImages:\n  - Name: Debian 12\n    Settings:\n      - Cloud: Local\n        Instance Type: small\n        Image: img-1\nAlerts: []\n",
	"boot.sh": "#!/bin/sh\n# ---\n# RightScript Name: Install the site\n# Inputs:\n#   SITE:\n#     Description: Where the site is fetched from.\n#     Required: true\n#     Default: text:https://example.net/site.tar\n# Attachments: []\n# ...\necho installing $SITE\n",
	"count.sh": "#!/bin/sh\n# ---\n# RightScript Name: Count slowly\n# Description: Counts, one line at a time.\n# Inputs:\n#   GATE:\n#     Description: Directory in which files open the gate.\n#     Required: true\n# Attachments: []\n# ...\n" +
		"for n in 1 2 3; do\n  echo \"line $n <b>not bold</b>\"\n  while [ ! -e \"$GATE/$n\" ]; do sleep 0.05; done\ndone\necho counted\n",
	"rotate.sh": "#!/bin/sh\n# ---\n# RightScript Name: Rotate logs\n# Description: Keeps the newest logs and packs the others.\n# Inputs:\n#   KEEP:\n#     Default: text:7\n# Attachments: []\n# ...\necho keeping $KEEP\n",
	"bye.sh":    "#!/bin/sh\n# ---\n# RightScript Name: Say goodbye\n# Inputs: {}\n# Attachments: []\n# ...\necho goodbye because of $DECOM_REASON\n",
}

func (p *platform) upload() {
	p.t.Helper()
	dir := p.t.TempDir()
	for name, text := range templateFiles {
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	tmpl, err := servertemplate.Load(filepath.Join(dir, "web.yml"))
	require.NoError(p.t, err)
	_, err = p.fleet.UploadTemplate(context.Background(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
	require.NoError(p.t, err)
}

// cloud launches a machine that is a directory with a real agent: it enrols over
// TLS, gets its work over the router's WebSocket and runs scripts on this host.
type cloud struct {
	t        *testing.T
	platform *platform
	ca       string

	mu    sync.Mutex
	n     int
	stops []func()
}

func (c *cloud) end() {
	for _, stop := range c.stops {
		stop()
	}
}

func (c *cloud) Launch(ctx context.Context, serverID int64, _ map[string]string, by string) (store.Instance, error) {
	f := c.platform.fleet
	server, err := f.DB.Server(ctx, serverID)
	if err != nil {
		return store.Instance{}, err
	}
	doc, err := f.UserData(ctx, fleet.By{Account: server.AccountID, Who: "test"}, server.Name, "query", "")
	if err != nil {
		return store.Instance{}, err
	}
	values, err := url.ParseQuery(doc)
	if err != nil {
		return store.Instance{}, err
	}
	c.mu.Lock()
	c.n++
	uid := fmt.Sprintf("i-0123456789abcd%03d", c.n)
	c.mu.Unlock()
	token, err := f.DB.LatestToken(ctx, serverID)
	if err != nil {
		return store.Instance{}, err
	}
	return store.Instance{ID: token.InstanceID}, c.boot(uid, values)
}

// boot leaves on the machine what bootstrap does, and starts the agent.
func (c *cloud) boot(uid string, values url.Values) error {
	root := paths.Root(c.t.TempDir())
	ca, err := os.ReadFile(c.ca)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		root.Identity(): fmt.Sprintf("client_id='%s'\nclient_secret='%s'\naccount='1'\napi_hostname='%s'\n", values.Get("RS_rn_id"), values.Get("RS_rn_auth"), values.Get("RS_server")),
		root.CA():       string(ca),
		root.Cloud():    "ec2",
		root.Join("var/spool/cloud/meta-data.json"): fmt.Sprintf(`{"instance-id":%q,"ami-id":"ami-0abc","local-ipv4":"10.0.0.5","public-ipv4":"192.0.2.7"}`, uid),
		root.Join("var/spool/cloud/user-data.json"): fmt.Sprintf(`{"RS_rn_id":%q}`, values.Get("RS_rn_id")),
		root.OSRelease(): "ID=debian\n",
		root.Join("proc/sys/kernel/random/boot_id"): "boot-1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	ctx, off := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- agent.Run(ctx, agent.Options{Root: root, Version: "10.6.4", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Commands: &machine{off: off}, Packages: noPackages{}})
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops = append(c.stops, func() {
		off()
		if err := <-done; err != nil {
			c.t.Error("the agent:", err)
		}
	})
	return nil
}

// machine is the commands of the agent's machine: a power-off ends the agent as
// an init system does.
type machine struct {
	off func()

	mu   sync.Mutex
	down string
}

func (m *machine) Run(_ context.Context, name string, _ ...string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch name {
	case "poweroff", "reboot":
		m.down = name
		time.AfterFunc(50*time.Millisecond, m.off)
	case "systemctl":
		if m.down != "" {
			return "1 " + m.down + ".target start waiting\n", nil
		}
		return "13 rightlink.service restart running\n", nil
	}
	return "", nil
}

type noPackages struct{}

func (noPackages) Install(context.Context, []string) error { return nil }

func (c *cloud) shutdown(ctx context.Context, instance int64, kind string) error {
	f := c.platform.fleet
	inst, err := f.DB.Instance(ctx, instance)
	if err != nil {
		return err
	}
	server, err := f.DB.Server(ctx, inst.ServerID)
	if err != nil {
		return err
	}
	return f.Shutdown(ctx, fleet.By{Account: server.AccountID, Who: "test"}, server.Name, kind)
}

func (c *cloud) Terminate(ctx context.Context, i int64, _ string) error {
	return c.shutdown(ctx, i, wire.KindTerminate)
}
func (c *cloud) Reboot(ctx context.Context, i int64, _ string) error {
	return c.shutdown(ctx, i, wire.KindReboot)
}
func (c *cloud) Stop(ctx context.Context, i int64, _ string) error {
	return c.shutdown(ctx, i, wire.KindStop)
}
func (c *cloud) Start(context.Context, int64, string) error { return nil }
func (c *cloud) Relaunch(ctx context.Context, serverID int64, by string) error {
	_, err := c.Launch(ctx, serverID, nil, by)
	return err
}

// fill makes a fleet that looks like one: for the pictures, and so that the
// pages that are measured are not empty.
func (p *platform) fill() {
	p.t.Helper()
	ctx := context.Background()
	f := p.fleet
	for i := range 60 {
		_, err := f.CreateServer(ctx, fleet.DefaultAccount, fleet.ServerSpec{Name: "shop-frontend-with-a-long-name-" + strconv.Itoa(i), Template: "Web server", Description: "Serves the shop in region " + strconv.Itoa(i), Enrolment: wire.EnrolLegacy})
		require.NoError(p.t, err)
	}
	require.NoError(p.t, f.SetCredential(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, "DB_PASSWORD", "of the shop's database", "very-secret-value"))
	array := "checkout"
	_, err := f.CreateArray(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, fleet.ArrayPatch{Name: &array}, fleet.ServerSpec{TemplateID: 1, AnyInput: true})
	require.NoError(p.t, err)
	_, err = f.DB.CreateRawInstance(ctx, store.Instance{AccountID: fleet.DefaultAccount, CloudID: 2, UID: fleet.NewUID(), ResourceUID: "i-0fedcba9876543210", Cloud: "ec2", ImageUID: "ami-0def0123456789abc", State: "running",
		Name: "bastion", InstanceType: "t3.small", CloudState: "running", SeenCloudID: 2, PublicIPs: []string{"192.0.2.1"}, PrivateIPs: []string{"10.0.0.99"}}, time.Now())
	require.NoError(p.t, err)
	for i := range 55 {
		require.NoError(p.t, f.DB.PutImage(ctx, store.Image{CloudID: 2, UID: fleet.NewUID(), ResourceUID: fmt.Sprintf("ami-0abc0123456789%03d", i), Name: fmt.Sprintf("rightimage-debian-12-amd64-v%d", i), OSPlatform: "Linux", CPUArchitecture: "x86_64", Visibility: "private"}, time.Now()))
	}
}
