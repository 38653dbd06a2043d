// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package rltest

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Root makes a root directory of an instance that was launched for this
// platform.
func (p *Platform) Root(t testing.TB) paths.Root {
	root := paths.Root(t.TempDir())
	p.Instance(t, root)
	return root
}

// Instance writes what bootstrap leaves on an instance.
func (p *Platform) Instance(t testing.TB, root paths.Root) {
	for name, text := range map[string]string{
		root.Identity(): fmt.Sprintf("client_id='%s'\nclient_secret='%s'\naccount='71'\napi_hostname='%s'\n", p.ClientID, p.Secret, strings.TrimPrefix(p.server.URL, "https://")),
		root.CA():       string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})),
		root.Cloud():    "ec2",
		root.Join("var/spool/cloud/meta-data.json"): `{"instance-id":"i-0123","ami-id":"ami-1","local-ipv4":"10.0.0.5","public-ipv4":"192.0.2.7"}`,
		root.Join("var/spool/cloud/user-data.json"): fmt.Sprintf(`{"RS_rn_id":%q,"RS_rn_auth":%q,"role":"web"}`, p.ClientID, p.Secret),
		root.OSRelease(): "ID=debian\n",
		root.Join("proc/sys/kernel/random/boot_id"): "boot-1\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
