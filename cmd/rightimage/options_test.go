// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

func TestEveryOptionHasAHelpText(t *testing.T) {
	n := 0
	publishCommand().Flags().VisitAll(func(f *pflag.Flag) {
		n++
		require.NotEmpty(t, f.Usage, "--%s: run go generate ./builder/publish", f.Name)
	})
	require.Greater(t, n, 50)
}

// parse reads flags as the command does.
func parse(t *testing.T, args ...string) (publish.Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("publish", pflag.ContinueOnError)
	given := addOptions(flags, publish.Config{}, "region", "regions")
	if err := flags.Parse(args); err != nil {
		return publish.Config{}, err
	}
	return publishFlags{regions: []string{"eu-west-1", "us-east-1"}}.config(given)
}

func TestOptionValues(t *testing.T) {
	c, err := parse(t,
		"--ami-name", "web-{{timestamp}}", "--ena-support=false", "--force-deregister", "--upload-timeout", "90s", "--volume-iops", "4000",
		"--ami-users", "111111111111,222222222222", "--ami-users", "333333333333",
		"--tags", "Team=web", "--tags", "Note=a, b = c", "--tags", "Arch={{.Arch}}",
		"--assume-role.role-arn", "arn:aws:iam::123456789012:role/builder", "--aws-polling.delay-seconds=7",
		"--ami-block-device-mappings", `{"device_name": "/dev/sdf", "volume_size": 10}`, "--ami-block-device-mappings", `{"device_name": "/dev/sdg", "virtual_name": "ephemeral0"}`)
	require.NoError(t, err)
	require.Equal(t, []string{"eu-west-1", "us-east-1"}, c.Targets())
	require.Regexp(t, `^web-[0-9]{10}$`, c.AMIName)
	require.True(t, c.EnaSupport.False())
	require.True(t, c.ForceDeregister)
	require.Equal(t, 90*time.Second, c.UploadTimeout)
	require.EqualValues(t, 4000, c.VolumeIOPS)
	require.Equal(t, []string{"111111111111", "222222222222", "333333333333"}, c.AMIUsers)
	require.Equal(t, map[string]string{"Team": "web", "Note": "a, b = c", "Arch": "{{.Arch}}"}, c.Tags)
	require.Equal(t, "arn:aws:iam::123456789012:role/builder", c.AssumeRole.RoleARN)
	require.Equal(t, 7, c.Polling.DelaySeconds)
	require.Len(t, c.AMIMappings, 2)
	require.EqualValues(t, 10, c.AMIMappings[0].VolumeSize)
	require.Nil(t, c.EncryptBoot.ToBoolPointer(), "what is not given stays open")
}

func TestWrongOptionValues(t *testing.T) {
	for want, args := range map[string][]string{
		"given twice":       {"--ami-name", "abc", "--ami-name", "abd"},
		"there is no =":     {"--tags", "Team"},
		"as a JSON object":  {"--ami-block-device-mappings", "/dev/sdf"},
		"volume_size":       {"--ami-name", "abc", "--volume-size", "many"},
		"ami_name":          {"--volume-size", "8"},
		"device_title":      {"--ami-name", "abc", "--ami-block-device-mappings", `{"device_title": "/dev/sdf"}`},
		"unknown flag":      {"--ami-title", "abc"},
		"upload_timeout":    {"--ami-name", "abc", "--upload-timeout", "5"},
		"deprecate_after":   {"--ami-name", "abc", "--deprecate-after", "soon"},
		"assume_role.role_": {"--ami-name", "abc", "--assume-role.role-arn", "builder"},
	} {
		_, err := parse(t, args...)
		require.ErrorContains(t, err, want)
	}
}
