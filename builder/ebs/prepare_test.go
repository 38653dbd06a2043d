// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

func valid() map[string]any {
	return map[string]any{
		"region": "us-east-1", "source_ami": "ami-0123456789abcdef0", "instance_type": "t3.small", "ami_name": "a name", "ssh_username": "admin",
	}
}

func prepared(t *testing.T, more map[string]any) (*Builder, error) {
	t.Helper()
	b, variables, err := prepare(more)
	require.Contains(t, variables, "SourceAMI")
	return b, err
}

// prepare makes a builder of valid options with changes; nil takes one out.
func prepare(more map[string]any) (*Builder, []string, error) {
	b := new(Builder)
	raw := valid()
	maps.Copy(raw, more)
	for k, v := range raw {
		if v == nil {
			delete(raw, k)
		}
	}
	variables, _, err := b.Prepare(raw)
	return b, variables, err
}

func TestPrepare(t *testing.T) {
	filter := map[string]any{"filters": map[string]string{"name": "x"}, "owners": []string{"self"}}
	for name, tc := range map[string]struct {
		change map[string]any
		want   []string // none: it is right
	}{
		"least":              {nil, nil},
		"filter":             {map[string]any{"source_ami": nil, "source_ami_filter": filter}, nil},
		"parameter":          {map[string]any{"source_ami": nil, "source_ami_ssm_parameter": "/x"}, nil},
		"spot":               {map[string]any{"instance_type": nil, "spot_instance_types": []string{"t3.small", "t3a.small"}, "spot_price": "0.05"}, nil},
		"spot of one type":   {map[string]any{"spot_price": "auto"}, nil},
		"no SSH":             {map[string]any{"communicator": "none", "ssh_username": nil}, nil},
		"world":              {map[string]any{"temporary_security_group_source_cidrs": []string{"0.0.0.0/0", "::/0"}}, nil},
		"late templates":     {map[string]any{"run_tags": map[string]string{"from": "{{ .SourceAMI }}"}, "tags": map[string]string{"from": "{{ .SourceAMIName }}"}}, nil},
		"policy":             {map[string]any{"temporary_iam_instance_profile_policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`}, nil},
		"empty policy":       {map[string]any{"temporary_iam_instance_profile_policy": `{"Version":"2012-10-17","Statement":[]}`}, []string{"temporary_iam_instance_profile_policy: has no Statement"}},
		"instance connect":   {map[string]any{"instance_connect": true, "ssh_interface": "session_manager"}, nil},
		"existing key":       {map[string]any{"ssh_keypair_name": "k", "ssh_agent_auth": true}, nil},
		"skip the image":     {map[string]any{"skip_create_ami": true}, nil},
		"no region":          {map[string]any{"region": nil}, []string{"region: is missing"}},
		"no owners":          {map[string]any{"source_ami": nil, "source_ami_filter": map[string]any{"filters": map[string]string{"name": "x"}}}, []string{"source_ami_filter.owners: is missing"}},
		"no filters":         {map[string]any{"source_ami": nil, "source_ami_filter": map[string]any{"owners": []string{"self"}}}, []string{"source_ami_filter.filters: is missing"}},
		"several sources":    {map[string]any{"source_ami_filter": filter}, []string{"source_ami, source_ami_filter: are all set"}},
		"image of a disk":    {map[string]any{"boot_mode": "uefi"}, []string{"boot_mode: is for images made of a disk only"}},
		"key without a half": {map[string]any{"ssh_keypair_name": "k"}, []string{"ssh_keypair_name: is set, but not its private half"}},
		"bastion":            {map[string]any{"ssh_bastion_host": "b.example", "ssh_bastion_password": "p", "ssh_bastion_username": "u"}, []string{"the connection comes from b.example"}},
		"echo service":       {map[string]any{"public_ip_url": "http://checkip.example"}, []string{`public_ip_url: "http://checkip.example" is not https`}},
		"spot cannot stop":   {map[string]any{"spot_price": "auto", "disable_stop_instance": true}, []string{"disable_stop_instance: is set, but a spot machine cannot be stopped"}},
		"our tag":            {map[string]any{"run_tags": map[string]string{"rightimage:temporary": "x"}}, []string{"is ours"}},
		"broken template":    {map[string]any{"run_volume_tags": map[string]string{"a": "{{ .Source"}}, []string{"run_volume_tags"}},
		"windows":            {map[string]any{"communicator": "winrm"}, []string{`communicator: is "winrm": use ssh or none`}},
		"devices":            {map[string]any{"launch_block_device_mappings": []map[string]any{{"device_name": "/dev/sdf"}}}, []string{"launch_block_device_mappings[0].volume_size"}},
		"everything at once": {
			map[string]any{
				"region": nil, "source_ami": "debian", "instance_type": nil, "ssh_username": nil, "ssh_interface": "carrier_pigeon", "user_data": "a", "user_data_file": "b",
				"subnet_id": "s", "subnet_filter": map[string]any{"filters": map[string]string{"a": "b"}, "most_free": true, "random": true}, "vpc_id": "v",
				"vpc_filter": map[string]any{"filters": map[string]string{"a": "b"}}, "security_group_ids": []string{"g"},
				"security_group_filter": map[string]any{"filters": map[string]string{"a": "b"}}, "temporary_security_group_source_cidrs": []string{"10.0.0.1/8"},
				"iam_instance_profile": "p", "temporary_iam_instance_profile_policy": "no", "spot_allocation_strategy": "luck", "no_such_option": 1, "instance_connect": true, "ssh_password": "x",
			},
			[]string{
				"no_such_option", "region: is missing", `source_ami: is "debian"`, "instance_type: is missing", "ssh_username", `ssh_interface: is "carrier_pigeon"`, "user_data, user_data_file: are both set",
				"subnet_id, subnet_filter: are both set", "subnet_filter: most_free and random", "vpc_id, vpc_filter: are both set", "security_group_ids, security_group_filter: are both set",
				"temporary_security_group_source_cidrs: has no effect", `"10.0.0.1/8" has bits behind its mask: 10.0.0.0/8`, "iam_instance_profile, temporary_iam_instance_profile_policy: are both set",
				"temporary_iam_instance_profile_policy: is no JSON", "spot_allocation_strategy: is set, but no spot", `spot_allocation_strategy: is "luck"`, "instance_connect: is set together",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := prepared(t, tc.change)
			if len(tc.want) == 0 {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, text := range tc.want {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestUserDataFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ud")
	require.NoError(t, os.WriteFile(file, []byte("\x1f\x8b gzip"), 0o600))
	b, err := prepared(t, map[string]any{"user_data_file": file})
	require.NoError(t, err)
	data, err := b.config.userData()
	require.NoError(t, err)
	require.Equal(t, "\x1f\x8b gzip", string(data))
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x", maxUserData+1)), 0o600))
	_, err = prepared(t, map[string]any{"user_data_file": file})
	require.ErrorContains(t, err, "user_data: can have at most 16384 bytes, has 16385")
	_, err = prepared(t, map[string]any{"user_data_file": file + "x"})
	require.ErrorContains(t, err, "user_data_file: open")
}

func TestSecretsAreFiltered(t *testing.T) {
	b, err := prepared(t, map[string]any{"ssh_password": "hush", "access_key": "AKIA", "secret_key": "quiet"})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"hush", "quiet"}, b.config.secrets())
}

func TestOnThisMachine(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:4566": true, "http://localhost:4566": true, "http://[::1]:1": true, "": false, "https://ec2.us-east-1.amazonaws.com": false, "http://10.0.0.1": false,
	} {
		require.Equal(t, want, localcloud.OnThisMachine(url), url)
	}
}
