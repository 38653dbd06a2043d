// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"
)

const aKey = "1234abcd-12ab-34cd-56ef-1234567890ab"

func two(c *Config) { c.Regions = []string{"us-east-1", "eu-west-1"} }

// Every problem names its option, the rule and the remedy.
func TestPrepareProblemsOfTheImagesLife(t *testing.T) {
	unsetPolling(t)
	soon, far := time.Now().AddDate(11, 0, 0).Format(time.RFC3339), time.Now().AddDate(3, 0, 0).Format(time.RFC3339)
	for name, tc := range map[string]struct {
		tweak func(c *Config)
		want  []string
	}{
		"strategy":                 {func(c *Config) { c.RegionStrategy = "move" }, []string{"region_strategy", `"move"`, "copy or upload"}},
		"copies":                   {func(c *Config) { c.CopyConcurrency = 101 }, []string{"copy_concurrency", "1 to 100"}},
		"no key":                   {func(c *Config) { c.KmsKeyID = "mine" }, []string{"kms_key_id", `"mine" is no KMS key`}},
		"key of another region":    {func(c *Config) { c.KmsKeyID = "arn:aws:kms:eu-west-1:123456789012:key/" + aKey }, []string{"kms_key_id", "a key of eu-west-1"}},
		"one key, two regions":     {func(c *Config) { two(c); c.KmsKeyID = aKey }, []string{"kms_key_id", "2 regions", "region_kms_key_ids"}},
		"a region without a key":   {func(c *Config) { two(c); c.RegionKmsKeyIDs = map[string]string{"us-east-1": aKey} }, []string{"region_kms_key_ids", "no key for eu-west-1"}},
		"a key without a region":   {func(c *Config) { c.RegionKmsKeyIDs = map[string]string{"us-east-1": aKey, "eu-west-1": aKey} }, []string{"region_kms_key_ids[eu-west-1]", "none of the regions"}},
		"two keys for one":         {func(c *Config) { c.KmsKeyID = aKey; c.RegionKmsKeyIDs = map[string]string{"us-east-1": ""} }, []string{"kms_key_id", "leave one"}},
		"key, and not encrypted":   {func(c *Config) { c.KmsKeyID, c.EncryptBoot = aKey, config.TriFalse }, []string{"encrypt_boot", "false"}},
		"alias for an upload":      {func(c *Config) { c.KmsKeyID = "alias/mine" }, []string{"kms_key_id", "alias", "ARN or id"}},
		"public and encrypted":     {func(c *Config) { c.KmsKeyID, c.AMIGroups = aKey, []string{"all"} }, []string{"ami_groups", "public", "cannot be encrypted"}},
		"public snapshots":         {func(c *Config) { c.KmsKeyID, c.SnapshotGroups = aKey, []string{"all"} }, []string{"snapshot_groups", "cannot be encrypted"}},
		"default key and shared":   {func(c *Config) { c.EncryptBoot, c.AMIUsers = config.TriTrue, []string{"123456789012"} }, []string{"encrypt_boot", "default key in us-east-1", "kms_key_id"}},
		"account":                  {func(c *Config) { c.AMIUsers = []string{"12345"} }, []string{"ami_users", `"12345"`, "12 digits"}},
		"account twice":            {func(c *Config) { c.SnapshotUsers = []string{"123456789012", "123456789012"} }, []string{"snapshot_users", "twice"}},
		"group":                    {func(c *Config) { c.AMIGroups = []string{"everyone"} }, []string{"ami_groups", `"everyone"`, `"all"`}},
		"organisation":             {func(c *Config) { c.AMIOrgARNs = []string{"o-1234567890"} }, []string{"ami_org_arns", "arn:aws:organizations"}},
		"unit":                     {func(c *Config) { c.AMIOUARNs = []string{"ou-1"} }, []string{"ami_ou_arns", "arn:aws:organizations"}},
		"past":                     {func(c *Config) { c.DeprecateAt = "2020-01-01T00:00:00Z" }, []string{"deprecate_at", "in the past"}},
		"no time":                  {func(c *Config) { c.DeprecateAt = "tomorrow" }, []string{"deprecate_at", `"tomorrow"`, "RFC 3339"}},
		"eleven years":             {func(c *Config) { c.DeprecateAt = soon }, []string{"deprecate_at", "10 years"}},
		"three years, public":      {func(c *Config) { c.DeprecateAt, c.AMIGroups = far, []string{"all"} }, []string{"deprecate_at", "public image", "2 years"}},
		"no period":                {func(c *Config) { c.DeprecateAfter = "3 months" }, []string{"deprecate_after", `"3 months"`, "90d"}},
		"both times":               {func(c *Config) { c.DeprecateAt, c.DeprecateAfter = far, "90d" }, []string{"deprecate_at, deprecate_after", "both"}},
		"cool-down alone":          {func(c *Config) { c.Protection.WithCooldown = true }, []string{"deregistration_protection.with_cooldown", "enabled"}},
		"snapshots without force":  {func(c *Config) { c.ForceDeleteSnapshot = true }, []string{"force_delete_snapshot", "force_deregister"}},
		"keep without family":      {func(c *Config) { c.KeepNewest = 3 }, []string{"keep_newest", "family"}},
		"keep less than none":      {func(c *Config) { c.KeepNewest = -1 }, []string{"keep_newest", "-1"}},
		"family":                   {func(c *Config) { c.Family = "web*" }, []string{"family", `"web*"`}},
		"parameter":                {func(c *Config) { c.SSMParameter = "images/web" }, []string{"ssm_parameter", `"images/web"`, "/images/web"}},
		"AWS's parameter":          {func(c *Config) { c.SSMParameter = "/aws/x" }, []string{"ssm_parameter", "AWS's own"}},
		"catalogue":                {func(c *Config) { c.CatalogueFile = "/no/such/place/x.json" }, []string{"catalogue_file", "/no/such/place"}},
		"manifest":                 {func(c *Config) { c.BlockManifest = "s3://bucket" }, []string{"block_manifest", "s3://bucket/key"}},
		"manifest by http":         {func(c *Config) { c.BlockManifest = "https://x/y" }, []string{"block_manifest", "https://x/y"}},
		"journal":                  {func(c *Config) { c.JournalDirectory = "/no/such" }, []string{"journal_directory", "/no/such"}},
		"TPM without UEFI":         {func(c *Config) { c.TpmSupport = "v2.0" }, []string{"tpm_support", "boot_mode"}},
		"UEFI data":                {func(c *Config) { c.BootMode, c.UefiData = "uefi", "?" }, []string{"uefi_data", "base64"}},
		"UEFI data without UEFI":   {func(c *Config) { c.UefiData = "QUFB" }, []string{"uefi_data", "no use"}},
		"io2 without IOPS":         {func(c *Config) { c.VolumeType = "io2" }, []string{"volume_iops", "missing", "io2"}},
		"IOPS of gp2":              {func(c *Config) { c.VolumeType, c.VolumeIOPS = "gp2", 3000 }, []string{"volume_iops", "gp2 has none"}},
		"few IOPS":                 {func(c *Config) { c.VolumeIOPS = 100 }, []string{"volume_iops", "3000 to 80000"}},
		"more IOPS than GiB allow": {func(c *Config) { c.VolumeSize, c.VolumeIOPS = 8, 5000 }, []string{"volume_iops", "at most 4000", "8 GiB"}},
		"throughput":               {func(c *Config) { c.VolumeThroughput = 1000 }, []string{"volume_throughput", "at most 750 MiB/s with 3000 IOPS"}},
		"device without a name":    {func(c *Config) { c.AMIMappings = []BlockDevice{{VolumeSize: 1}} }, []string{"ami_block_device_mappings[0].device_name", "missing"}},
		"root as a device":         {func(c *Config) { c.AMIMappings = []BlockDevice{{DeviceName: "/dev/xvda", VolumeSize: 1}} }, []string{"[0].device_name", "root device"}},
		"small st1": {func(c *Config) {
			c.AMIMappings = []BlockDevice{{DeviceName: "/dev/sdf", VolumeType: "st1", VolumeSize: 10}}
		}, []string{"[0].volume_size", "125 to 16384"}},
		"key of a device": {func(c *Config) {
			c.AMIMappings = []BlockDevice{{DeviceName: "/dev/sdf", VolumeSize: 1, KmsKeyID: aKey}}
		}, []string{"[0].kms_key_id", "region_kms_key_ids"}},
		"template": {func(c *Config) { c.Tags = map[string]string{"a": "{{ .Source"} }, []string{"tags", "template"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.tweak(&c)
			errs := c.PrepareDisk()
			require.Len(t, errs, 1)
			for _, want := range tc.want {
				require.ErrorContains(t, errs[0], want)
			}
		})
	}
}

func TestPrepareAccepts(t *testing.T) {
	unsetPolling(t)
	for name, tweak := range map[string]func(c *Config){
		"a multi-Region key": func(c *Config) { two(c); c.KmsKeyID = "mrk-1234abcd12ab34cd56ef1234567890ab" },
		"keys, one by itself": func(c *Config) {
			two(c)
			c.KmsKeyID, c.RegionKmsKeyIDs = aKey, map[string]string{"eu-west-1": "alias/there"}
		},
		"the default key there": func(c *Config) { two(c); c.RegionKmsKeyIDs = map[string]string{"us-east-1": aKey, "eu-west-1": ""} },
		"a public image":        func(c *Config) { c.AMIGroups, c.DeprecateAfter = []string{"all"}, "700d" },
		"a Go duration":         func(c *Config) { c.DeprecateAfter = "2160h" },
		"a manifest in S3":      func(c *Config) { c.BlockManifest = "s3://bucket/a/b" },
		"fast gp3":              func(c *Config) { c.VolumeSize, c.VolumeIOPS, c.VolumeThroughput = 200, 80000, 2000 },
		"a template":            func(c *Config) { c.Tags = map[string]string{"from": strings.Repeat("{{ .Source }}", 40)} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tweak(&c)
			require.Empty(t, c.PrepareDisk())
		})
	}
}

func TestPrepareOfAMachine(t *testing.T) {
	unsetPolling(t)
	c := good()
	c.BootMode, c.RegionStrategy, c.BlockManifest, c.Incremental = "uefi", "upload", "x", config.TriTrue
	errs := c.PrepareImage()
	require.Len(t, errs, 4)
	for i, option := range []string{"block_manifest", "boot_mode", "incremental", "region_strategy"} {
		require.ErrorContains(t, errs[i], option)
	}
}

func TestTemplatesOfTags(t *testing.T) {
	c := good()
	c.Tags, c.AMIDescription = map[string]string{"{{ .Key }}": "{{ .Value }}"}, "of {{ .Value }}"
	c.TemplateData = map[string]any{"Key": "k", "Value": "v"}
	require.Empty(t, c.Prepare())
	require.NoError(t, c.fillIn())
	require.Equal(t, map[string]string{"k": "v"}, c.Tags)
	require.Equal(t, "of v", c.AMIDescription)
	c.SnapshotTags = map[string]string{"x": "{{ .Other }}"}
	require.ErrorContains(t, c.fillIn(), "known are .Key, .Value")
	c.SnapshotTags = map[string]string{"x": "{{ .Value }}"}
	c.TemplateData["Value"] = strings.Repeat("v", 300)
	require.ErrorContains(t, c.fillIn(), "at most 256")
}

func TestProtectionOf(t *testing.T) {
	for text, want := range map[string]protection{
		"": unprotected, "disabled": unprotected, "enabled-without-cooldown": protected,
		"enabled-with-cooldown": protectedForADay, "disabled after 2030-01-01": coolingDown,
	} {
		require.Equal(t, want, protectionOf(types.Image{DeregistrationProtection: aws.String(text)}), text)
	}
}

func TestTemporaryNames(t *testing.T) {
	p := &Publisher{Config: Config{AMIName: strings.Repeat("n", 120)}}
	p.publishID = "0a1b2c3d-4e5f-6789-0a1b-2c3d4e5f6789"
	require.Equal(t, strings.Repeat("n", 119)+" 0a1b2c3d", p.stagingName())
	require.Len(t, p.stagingName(), maxName)
	require.Empty(t, checkName(p.stagingName()))
	require.NotEqual(t, p.stagingName(), p.passingName())
}
