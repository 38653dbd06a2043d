// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

func write(t *testing.T, path, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestRead(t *testing.T) {
	root := paths.Root(t.TempDir())
	write(t, root.Cloud(), "ec2\n")
	write(t, root.Join("var/spool/cloud/meta-data.json"), `{"instance-id":"i-1","ami-id":"ami-9","local-ipv4":"10.0.0.5","ec2_foo":"x",
		"placement":{"availability-zone":"a"},"public-keys":{"0":{"openssh-key":"ssh-rsa A\nB"}},
		"iam":{"security-credentials":{"role":"{\"SecretAccessKey\":\"s\"}"}},"tags":["a",1,null]}`)
	write(t, root.Join("var/spool/cloud/user-data.json"), `{"RS_rn_id":"7","RS_rn_auth":"s","client_secret":"s","RS_rn_url":"amqp://u:p@h/","note":"say \"hi\" $X","my-role":"web"}`)
	d, err := Read(root)
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"EC2_INSTANCE_ID": "i-1", "EC2_AMI_ID": "ami-9", "EC2_LOCAL_IPV4": "10.0.0.5", "EC2_FOO": "x",
		"EC2_PLACEMENT_AVAILABILITY_ZONE": "a", "EC2_PUBLIC_KEYS_0_OPENSSH_KEY": "ssh-rsa A\nB", "EC2_TAGS_0": "a", "EC2_TAGS_1": "1",
	}, d.Metadata)
	require.Equal(t, map[string]string{"RS_RN_ID": "7", "RS_NOTE": `say "hi" $X`, "RS_MY_ROLE": "web"}, d.UserData)
	require.Equal(t, "i-1", d.ResourceUID)
	require.Equal(t, "10.0.0.5", d.PrivateIP())
	require.Equal(t, "ami-9", d.ImageUID())
	require.Empty(t, d.PublicIP())
}

func TestReadDict(t *testing.T) {
	root := paths.Root(t.TempDir())
	write(t, root.Cloud(), "none")
	write(t, root.Join("etc/machine-id"), "abc\n")
	write(t, root.Join("var/spool/cloud/user-data.dict"), "RS_RN_ID=7\nRS_RN_AUTH=s\nRS_A=b=c\n")
	d, err := Read(root)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"RS_RN_ID": "7", "RS_A": "b=c"}, d.UserData)
	require.Empty(t, d.Metadata)
	require.Equal(t, "machine-abc", d.ResourceUID)
}

func TestReadDamaged(t *testing.T) {
	root := paths.Root(t.TempDir())
	write(t, root.Join("var/spool/cloud/user-data.json"), "{")
	_, err := Read(root)
	require.ErrorContains(t, err, "user-data.json")
}
