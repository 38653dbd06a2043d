// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cloudstack is Apache CloudStack: the virtual router, which is the DHCP server,
// answers in EC2's old form, without a session token.
type cloudstack struct {
	*imds

	o   Options
	err error // there is no router to ask
}

// cloudstackLeaves are the values that the router has.
func cloudstackLeaves() []string {
	return []string{
		"service-offering", "availability-zone", "local-ipv4", "local-hostname", "public-ipv4", "public-hostname",
		"instance-id", "vm-id", "public-keys", "cloud-identifier",
	}
}

func newCloudStack(o Options) Cloud {
	var err error
	if o.Endpoint == "" {
		o.Endpoint, err = routerURL(o.Root)
	}
	m := newIMDS(o)
	m.plain = true
	return cloudstack{m, o, err}
}

func recogniseCloudStack(h Hints) bool { return strings.HasPrefix(h.ProductName, "CloudStack") }

func (cloudstack) Name() string      { return "cloudstack" }
func (cloudstack) EnvPrefix() string { return "EC2_" }

// routerURL finds the DHCP server in the leases of the clients in use.
func routerURL(root string) (string, error) {
	server := ""
	for _, pattern := range []string{
		"var/lib/dhcp/dhclient*.leases", "var/lib/dhcp3/dhclient*.leases", "var/lib/dhclient/dhclient*.leases", "var/lib/dhclient-*.leases",
		"run/systemd/netif/leases/*", "var/lib/NetworkManager/internal-*.lease",
	} {
		files, _ := filepath.Glob(filepath.Join(root, pattern)) // our patterns are well formed
		slices.Sort(files)
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			if s := dhcpServer(string(text)); s != "" {
				server = s // the last one counts, as in the original
			}
		}
	}
	if server == "" {
		return "http://127.0.0.1:1", errors.New("cloudstack: no DHCP lease names the server, which has the metadata")
	}
	return "http://" + server, nil
}

// dhcpServer is the last server that a lease file names: of dhclient, or of
// systemd-networkd and NetworkManager.
func dhcpServer(text string) string {
	found := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(strings.TrimSpace(l), ";")
		for _, key := range []string{"option dhcp-server-identifier ", "SERVER_ADDRESS="} {
			if v, ok := strings.CutPrefix(l, key); ok && net.ParseIP(strings.TrimSpace(v)) != nil {
				found = strings.TrimSpace(v)
			}
		}
	}
	return found
}

func (c cloudstack) leaf(ctx context.Context, path string) (string, error) {
	if c.err != nil {
		return "", c.err
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
	defer cancel()
	body, err := c.once(ctx, path)
	return strings.TrimSpace(body), err
}

func (c cloudstack) UserData(ctx context.Context) ([]byte, error) {
	body, err := c.leaf(ctx, "/latest/user-data")
	if err == nil && body == "" {
		err = ErrAbsent
	}
	return []byte(body), err
}

func (c cloudstack) InstanceID(ctx context.Context) (string, error) {
	return c.leaf(ctx, "/latest/meta-data/instance-id")
}

func (c cloudstack) LoginKey(ctx context.Context) (string, error) {
	key, err := c.leaf(ctx, "/latest/meta-data/public-keys")
	if err == nil && key == "" {
		err = ErrAbsent
	}
	return key, err
}

func (c cloudstack) MetaData(ctx context.Context) (*Tree, error) {
	t := &Tree{Dir: true}
	for _, name := range cloudstackLeaves() {
		value, err := c.leaf(ctx, "/latest/meta-data/"+name)
		switch {
		case errors.Is(err, ErrAbsent), errors.Is(err, ErrDenied):
			continue
		case err != nil:
			return nil, fmt.Errorf("cloudstack: %w", err)
		case name == "public-keys":
			keys := &Tree{Name: "0", Dir: true, Children: []*Tree{{Name: "openssh-key", Value: value}}}
			t.Children = append(t.Children, &Tree{Name: name, Dir: true, Children: []*Tree{keys}})
		default:
			t.Children = append(t.Children, &Tree{Name: name, Value: value})
		}
	}
	return t, nil
}

// Fingerprint: ten small values are read anew at each boot.
func (cloudstack) Fingerprint(context.Context, string) (string, error) { return "", nil }
