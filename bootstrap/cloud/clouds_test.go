// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// plainService answers paths with their query, and refuses requests without
// the header that the cloud demands.
type plainService struct {
	values      map[string]string
	header, val string

	mu   sync.Mutex
	seen []string
}

func (s *plainService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r.Host+r.URL.RequestURI())
	s.mu.Unlock()
	if s.header != "" && r.Header.Get(s.header) != s.val {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body, ok := s.values[r.URL.RequestURI()]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	fmt.Fprint(w, body)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

const (
	launch = "RS_rn_id=1&RS_rn_auth=x&RS_server=h&RS_account=1"
	sshKey = "ssh-ed25519 AAAA me"
)

// cloudCase is one cloud with its service, and what is wanted of it.
type cloudCase struct {
	service  *plainService
	files    map[string]string
	run      *toolbox
	id       string
	leaves   map[string]string
	absent   []string // leaves that must not be in the spool
	requests int64    // of everything below, with a session
}

// toolbox is a Runner with recorded answers.
type toolbox map[string]string

func (t toolbox) Run(_ context.Context, name string, args ...string) (string, error) {
	if out, ok := t[filepath.Base(name)+" "+strings.Join(args, " ")]; ok {
		return out, nil
	}
	return "", errors.New("No value found")
}

func cloudCases() map[string]cloudCase {
	azureTree := `{"compute":{"name":"vm","vmId":"ABC-1","location":"westeurope","userData":"c2VjcmV0","publicKeys":[{"keyData":"ssh-ed25519 AAAA\r\n me","path":"/x"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4"}]}}]}}`
	novaTree := `{"uuid":"83679162-1378","hostname":"vm.novalocal","admin_pass":"x","random_seed":"y","public_keys":{"me":"` + sshKey + `\n"},"meta":{"role":"web"},"devices":[]}`
	return map[string]cloudCase{
		"gce": {
			service: &plainService{header: "Metadata-Flavor", val: "Google", values: map[string]string{
				"/computeMetadata/v1/?recursive=true&alt=json": `{"instance":{"id":4711,"zone":"projects/1/zones/z","attributes":{"RS_server":"h","RS_rn_id":"1","RS_account":"1","RS_rn_auth":"x","ssh-keys":"me:` + sshKey + `"}},"project":{"projectId":"p","attributes":{"block":"1"}}}`,
			}},
			id: "4711", leaves: map[string]string{"zone": "projects/1/zones/z", "project/projectId": "p"}, absent: []string{"attributes/RS_rn_auth"}, requests: 1,
		},
		"azure": {
			service: &plainService{header: "Metadata", val: "true", values: map[string]string{azureDocument: azureTree, azureUserData: b64(launch)}},
			id:      "abc-1", leaves: map[string]string{"compute/location": "westeurope", "network/interface/0/ipv4/ipAddress/0/privateIpAddress": "10.0.0.4"},
			absent: []string{"compute/userData"}, requests: 2,
		},
		"digitalocean": {
			service: &plainService{values: map[string]string{
				"/metadata/v1.json":      `{"droplet_id":2756294,"hostname":"d","user_data":"secret","public_keys":["` + sshKey + `"],"region":"nyc3","features":{"dhcp_enabled":true}}`,
				"/metadata/v1/user-data": launch,
			}},
			id: "2756294", leaves: map[string]string{"region": "nyc3", "features/dhcp_enabled": "true"}, absent: []string{"user_data"}, requests: 2,
		},
		"oracle": {
			service: &plainService{header: "Authorization", val: "Bearer Oracle", values: map[string]string{
				"/opc/v2/instance/": `{"id":"ocid1.instance.oc1..x","shape":"VM","metadata":{"user_data":"` + b64(launch) + `","ssh_authorized_keys":"` + sshKey + `"}}`,
			}},
			id: "ocid1.instance.oc1..x", leaves: map[string]string{"shape": "VM"}, absent: []string{"metadata/user_data"}, requests: 1,
		},
		"cloudstack": {
			service: &plainService{values: map[string]string{
				"/latest/user-data": launch, "/latest/meta-data/instance-id": "9f1c", "/latest/meta-data/service-offering": "Small",
				"/latest/meta-data/public-keys": sshKey + "\n", "/latest/meta-data/local-ipv4": "10.1.1.5",
			}},
			id: "9f1c", leaves: map[string]string{"service-offering": "Small", "local-ipv4": "10.1.1.5", "public-keys/0/openssh-key": sshKey}, requests: 11,
		},
		"openstack": {
			service: &plainService{values: map[string]string{
				"/openstack/latest/meta_data.json": novaTree, "/openstack/latest/user_data": launch,
				"/latest/meta-data/": "instance-id\nlocal-ipv4", "/latest/meta-data/instance-id": "i-0000000a", "/latest/meta-data/local-ipv4": "10.0.0.9",
			}},
			id: "83679162-1378", leaves: map[string]string{"instance-id": "i-0000000a", "local-ipv4": "10.0.0.9", "openstack/meta/role": "web", "local-hostname": "vm.novalocal"},
			absent: []string{"openstack/admin_pass", "openstack/random_seed"}, requests: 5,
		},
		"openstack, config drive": {
			files: map[string]string{
				"dev/disk/by-label/config-2/" + novaMeta: novaTree, "dev/disk/by-label/config-2/" + novaUserData: launch,
				"dev/disk/by-label/config-2/" + novaEC2: `{"instance-id":"i-0000000a","block-device-mapping":{"root":"/dev/vda"}}`,
			},
			id: "83679162-1378", leaves: map[string]string{"instance-id": "i-0000000a", "block-device-mapping/root": "/dev/vda"},
		},
		"vsphere": {
			files: map[string]string{"usr/bin/vmtoolsd": "x"},
			run: &toolbox{
				"vmtoolsd --cmd info-get guestinfo.userdata": b64(launch), "vmtoolsd --cmd info-get guestinfo.userdata.encoding": "base64",
				"vmtoolsd --cmd info-get guestinfo.metadata": "instance-id: vm-7\nlocal-hostname: web\npublic-keys: [" + sshKey + "]\n",
			},
			id: "vm-7", leaves: map[string]string{"local-hostname": "web"},
		},
		"vsphere, original": {
			files: map[string]string{"usr/bin/vmtoolsd": "x", "sys/class/dmi/id/product_uuid": "564D-1"},
			run: &toolbox{
				"vmtoolsd --cmd info-get guestinfo.userdata": strings.ReplaceAll(launch, "&", "\n") + "\nVS_SSH_PUBLIC_KEY=" + sshKey,
				"vmtoolsd --cmd info-get guestinfo.metadata": "VS_REGION=r&VS_X=1",
			},
			id: "564d-1", leaves: map[string]string{"VS_REGION": "r", "VS_X": "1"},
		},
		"nocloud": {
			files: map[string]string{
				"var/lib/cloud/seed/nocloud/user-data": launch,
				"var/lib/cloud/seed/nocloud/meta-data": "instance-id: nc-1\nlocal-hostname: vm\npublic-keys:\n  - " + sshKey + "\nbad: &a [*a]\n",
			},
			id: "nc-1", leaves: map[string]string{"local-hostname": "vm"},
		},
		"nocloud, disk": {
			files: map[string]string{"dev/disk/by-label/cidata/user-data": launch, "dev/disk/by-label/cidata/meta-data": `{"instance-id":"nc-2","public-keys":["` + sshKey + `"]}`},
			id:    "nc-2", leaves: map[string]string{"instance-id": "nc-2"},
		},
		"rackspace": {
			files: map[string]string{"var/spool/rackspace/user-data.txt": strings.ReplaceAll(launch, "&", "\n"), "var/spool/rackspace/meta-data.txt": "instance-id=rax-1\nopenssh-key=" + sshKey},
			id:    "rax-1", leaves: map[string]string{"instance-id": "rax-1"},
		},
	}
}

func openCase(t *testing.T, name string, tc cloudCase) Cloud {
	t.Helper()
	o := Options{Root: t.TempDir(), Deadline: 5 * time.Second, Boot: "b"}
	o.Session = filepath.Join(o.Root, "run/session.json")
	for path, text := range tc.files {
		put(t, o.Root, path, text)
	}
	if tc.run != nil {
		o.Run = *tc.run
	}
	if tc.service == nil {
		tc.service = &plainService{}
	}
	srv := httptest.NewServer(tc.service)
	t.Cleanup(srv.Close)
	o.Endpoint = srv.URL
	word, _, _ := strings.Cut(name, ",")
	c, err := New(word, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClouds asks each cloud for everything that a boot asks for.
func TestClouds(t *testing.T) {
	for name, tc := range cloudCases() {
		t.Run(name, func(t *testing.T) {
			c := openCase(t, name, tc)
			if id, err := c.InstanceID(t.Context()); id != tc.id || err != nil {
				t.Errorf("instance id %q, %v", id, err)
			}
			if key, err := c.LoginKey(t.Context()); !strings.HasPrefix(key, "ssh-ed25519 AAAA") || strings.Contains(key, "\r") || err != nil {
				t.Errorf("login key %q, %v", key, err)
			}
			raw, err := c.UserData(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for p := range strings.SplitSeq(launch, "&") {
				if !strings.Contains(string(raw), p) {
					t.Errorf("user-data %q lacks %s", raw, p)
				}
			}
			tree, err := c.MetaData(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := flat(tree)
			for path, want := range tc.leaves {
				if got[path] != want {
					t.Errorf("%s: %q, want %q, in %q", path, got[path], want, got)
				}
			}
			for _, path := range tc.absent {
				if v, ok := got[path]; ok {
					t.Errorf("%s: %q must not reach the spool", path, v)
				}
			}
			if name != "openstack" && c.Requests() > tc.requests || c.Requests() > tc.requests+1 {
				t.Errorf("%d requests, want %d: %q", c.Requests(), tc.requests, tc.service.seen)
			}
		})
	}
}

// TestCloudsWithoutAnswer: no service, no files and no tools are no error that
// blocks, and nothing is made up.
func TestCloudsWithoutAnswer(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			c := openCase(t, name, cloudCase{})
			if _, err := c.UserData(t.Context()); name == "ec2" && err == nil || name != "ec2" && !errors.Is(err, ErrAbsent) {
				t.Errorf("user-data: %v", err)
			}
		})
	}
}

func TestGarbage(t *testing.T) {
	for _, name := range []string{"gce", "azure", "digitalocean", "oracle", "openstack"} {
		for _, body := range []string{"", "<html>", "[]", "{", "1", `{"a":1} x`, strings.Repeat(`{"a":`, 100)} {
			paths := map[string]string{}
			for _, p := range []string{"/computeMetadata/v1/?recursive=true&alt=json", azureDocument, "/metadata/v1.json", "/opc/v2/instance/", "/" + novaMeta} {
				paths[p] = body
			}
			c := openCase(t, name, cloudCase{service: &plainService{values: paths}})
			if id, err := c.InstanceID(t.Context()); err == nil {
				t.Errorf("%s: %q gives the instance id %q", name, body, id)
			}
		}
	}
}

func TestRouter(t *testing.T) {
	root := t.TempDir()
	if _, err := routerURL(root); err == nil {
		t.Error("no lease is an error")
	}
	put(t, root, "var/lib/dhcp/dhclient.eth0.leases", "lease {\n  option dhcp-server-identifier 10.0.0.1;\n}\nlease {\n  option dhcp-server-identifier 10.0.0.2;\n}\n")
	if u, err := routerURL(root); u != "http://10.0.0.2" || err != nil {
		t.Errorf("%q %v", u, err)
	}
	put(t, root, "run/systemd/netif/leases/2", "ADDRESS=10.0.0.9\nSERVER_ADDRESS=10.0.0.3\n")
	if u, err := routerURL(root); u != "http://10.0.0.3" || err != nil {
		t.Errorf("%q %v", u, err)
	}
}

func TestAzureDisk(t *testing.T) {
	c := openCase(t, "azure", cloudCase{files: map[string]string{
		"var/lib/waagent/ovf-env.xml": `<Environment xmlns="x"><p:Section xmlns:p="y"><q:CustomData xmlns:q="z">` + b64("RS_a=1") + `</q:CustomData></p:Section></Environment>`,
	}})
	if raw, err := c.UserData(t.Context()); string(raw) != "RS_a=1" || err != nil {
		t.Errorf("%q %v", raw, err)
	}
	// What rs_connect left is used alone, and the cloud is not asked.
	c = openCase(t, "azure", cloudCase{files: map[string]string{"var/spool/rightscale/user-data.txt": "mine=1"}})
	if raw, err := c.UserData(t.Context()); string(raw) != "mine=1" || err != nil || c.Requests() != 0 {
		t.Errorf("%q %v", raw, err)
	}
}

// TestDiscovering: a variable that is not ready is waited for.
func TestDiscovering(t *testing.T) {
	c := openCase(t, "vsphere", cloudCase{files: map[string]string{"usr/bin/vmware-rpctool": "x"}, run: &toolbox{"vmware-rpctool info-get guestinfo.userdata": "a=b\nip=discovering\n"}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.UserData(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAbsent) {
		t.Errorf("got %v", err)
	}
}

// TestSession: the stages of one boot share what they know, the next boot does
// not.
func TestSession(t *testing.T) {
	f := &fakeIMDS{leaves: sampleLeaves()}
	srv := httptest.NewServer(f)
	defer srv.Close()
	o := Options{Root: t.TempDir(), Endpoint: srv.URL, Boot: "one"}
	o.Session = filepath.Join(o.Root, "run/rightimage/metadata.json")
	ask := func(o Options) int64 {
		c, err := New("ec2", o)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if id, err := c.InstanceID(t.Context()); id != "i-0123" || err != nil {
				t.Fatalf("%q %v", id, err)
			}
			if _, err := c.UserData(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return c.Requests()
	}
	if n := ask(o); n != 3 {
		t.Errorf("the first stage: %d requests", n)
	}
	if n := ask(o); n != 0 {
		t.Errorf("another stage: %d requests", n)
	}
	if info, err := os.Stat(o.Session); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	put(t, o.Root, "run/rightimage/metadata.json", "{")
	if n := ask(o); n != 3 {
		t.Errorf("with a damaged file: %d requests", n)
	}
	o.Boot = "two"
	if n := ask(o); n != 3 {
		t.Errorf("the next boot: %d requests", n)
	}
	o.Session = ""
	if n := ask(o); n != 5 && n != 3 {
		t.Errorf("without a file: %d requests", n)
	}
}

func TestFingerprint(t *testing.T) {
	f := &fakeIMDS{leaves: sampleLeaves()}
	c := open(t, f, Options{})
	ask := func(before string) string {
		t.Helper()
		text, err := c.Fingerprint(t.Context(), before)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if got := ask(""); got != "" {
		t.Errorf("nothing to go by: %q", got)
	}
	f.leaves["meta-data/local-ipv4"] = "10.0.0.1"
	address := ask("")
	n := c.Requests()
	if ask(address) != address || c.Requests() != n+1 {
		t.Error("one request, the same answer")
	}
	f.leaves["meta-data/local-ipv4"] = "10.0.0.2"
	if ask(address) == address {
		t.Error("a new address is a change")
	}
	f.leaves["dynamic/instance-identity/document"] = `{"pendingTime":"1"}`
	document := ask("")
	f.leaves["dynamic/instance-identity/document"] = `{"pendingTime":"2"}`
	if !strings.Contains(document, "document") || ask(document) == document {
		t.Error("another start is a change")
	}
}

// FuzzJSON: metadata of any shape gives names that are safe as files.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "{}", `{"a":{"b":[1,null,{"c/d":true}]}}`, `{"..":1,"":2}`, `[1]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tree, err := parseJSON([]byte(text))
		if err != nil {
			return
		}
		tree.Walk(func(path []string, _ string) {
			for _, name := range path {
				if name == "" || strings.Contains(name, "/") {
					t.Fatalf("unsafe name in %q", path)
				}
			}
		})
		textTree([]byte(text))
	})
}
