// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocalFiles(t *testing.T) {
	const settings = "RS_rn_id=1&RS_rn_auth=x&RS_server=h&RS_account=1"
	tests := map[string]struct {
		cloud, own, extra, want string
	}{
		"cloud's":                      {cloud: settings, extra: "other=1", want: settings},
		"own file wins":                {cloud: settings, own: "mine=1", want: "mine=1"},
		"blank own file does not":      {cloud: settings, own: " \n", want: settings},
		"extra fills in":               {cloud: "role=web", extra: settings, want: settings},
		"extra without cloud's":        {extra: settings, want: settings},
		"cloud's if there is no extra": {cloud: "role=web", want: "role=web"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := &fakeIMDS{leaves: map[string]string{}}
			if tc.cloud != "" {
				f.leaves["user-data"] = tc.cloud
			}
			c := open(t, f, Options{})
			put(t, c.(local).root, "var/spool/ec2/user-data.txt", tc.own)
			put(t, c.(local).root, "var/spool/rightscale/user-data.txt", tc.extra)
			if raw, err := c.UserData(t.Context()); string(raw) != tc.want || err != nil {
				t.Errorf("got %q, %v", raw, err)
			}
		})
	}
}

func put(t *testing.T, root, path, content string) {
	t.Helper()
	if content == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, path), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNone(t *testing.T) {
	root := t.TempDir()
	c, err := New("none", Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UserData(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("user-data: %v", err)
	}
	if tree, err := c.MetaData(t.Context()); err != nil || !tree.Empty() {
		t.Errorf("metadata: %v %v", tree, err)
	}
	if _, err := c.InstanceID(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("id: %v", err)
	}
	put(t, root, "etc/machine-id", "uninitialized\n")
	if _, err := c.InstanceID(t.Context()); !errors.Is(err, ErrAbsent) {
		t.Errorf("id: %v", err)
	}
	put(t, root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	if id, _ := c.InstanceID(t.Context()); id != "0123456789abcdef0123456789abcdef" {
		t.Errorf("id %q", id)
	}
	if tree, err := c.MetaData(t.Context()); err != nil || len(flat(tree)) != 1 || flat(tree)["instance-id"] == "" {
		t.Errorf("metadata must name the instance: %v %v", flat(tree), err)
	}
	put(t, root, "sys/class/dmi/id/product_uuid", "00000000-0000-0000-0000-000000000000\n")
	if id, _ := c.InstanceID(t.Context()); !strings.HasPrefix(id, "0123") {
		t.Errorf("id %q", id)
	}
	put(t, root, "var/spool/none/meta-data.txt", "instance-id=vm-7\r\nopenssh-key=ssh-rsa A=\r\n# note=1\n")
	put(t, root, "var/spool/none/user-data.txt", "a=b")
	id, _ := c.InstanceID(t.Context())
	key, _ := c.LoginKey(t.Context())
	raw, _ := c.UserData(t.Context())
	if id != "vm-7" || key != "ssh-rsa A=" || string(raw) != "a=b" {
		t.Errorf("%q %q %q", id, key, raw)
	}
}

func TestUnknownCloud(t *testing.T) {
	if _, err := New("moon", Options{}); err == nil || !strings.Contains(err.Error(), "ec2, gce, azure, digitalocean, oracle, cloudstack, openstack, vsphere, rackspace, none") {
		t.Errorf("got %v", err)
	}
}

func TestRecognise(t *testing.T) {
	tests := map[string]struct {
		h    Hints
		want string
	}{
		"nitro":       {Hints{SysVendor: "Amazon EC2", ProductName: "t3.micro"}, "ec2"},
		"metal":       {Hints{ChassisAssetTag: "Amazon EC2"}, "ec2"},
		"xen":         {Hints{SysVendor: "Xen", BIOSVersion: "4.11.amazon", ProductUUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, "ec2"},
		"xen swapped": {Hints{BIOSVersion: "4.2.amazon", ProductUUID: "45E12AEC-DCD1-B213-94ED-012345ABCDEF"}, "ec2"},
		"other xen":   {Hints{SysVendor: "Xen", BIOSVersion: "4.11", ProductUUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF"}, ""},
		"qemu":        {Hints{SysVendor: "QEMU"}, ""},
		"gce":         {Hints{SysVendor: "Google", ProductName: "Google Compute Engine"}, "gce"},
		"azure":       {Hints{SysVendor: "Microsoft Corporation", ChassisAssetTag: "7783-7084-3265-9085-8269-3286-77"}, "azure"},
		"hyper-v":     {Hints{SysVendor: "Microsoft Corporation", ProductName: "Virtual Machine"}, ""},
		"droplet":     {Hints{SysVendor: "DigitalOcean", ProductName: "Droplet"}, "digitalocean"},
		"oracle":      {Hints{SysVendor: "QEMU", ChassisAssetTag: "OracleCloud.com"}, "oracle"},
		"cloudstack":  {Hints{SysVendor: "Apache Software Foundation", ProductName: "CloudStack KVM Hypervisor"}, "cloudstack"},
		"nova":        {Hints{SysVendor: "OpenStack Foundation", ProductName: "OpenStack Nova"}, "openstack"},
		"ironic":      {Hints{SysVendor: "Dell", ConfigDrive: true}, "openstack"},
		"vmware":      {Hints{SysVendor: "VMware, Inc.", ProductName: "VMware Virtual Platform"}, "vsphere"},
		"cidata":      {Hints{SysVendor: "QEMU", NoCloud: true}, "nocloud"},
		"nothing":     {Hints{}, ""},
	}
	for name, tc := range tests {
		if got := Recognise(tc.h); got != tc.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
