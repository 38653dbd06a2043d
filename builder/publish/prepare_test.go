// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"
)

// good is a template without problems.
func good() Config {
	return Config{AccessConfig: AccessConfig{Region: "us-east-1"}, AMIName: "an image"}
}

func unsetPolling(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_POLL_DELAY_SECONDS", "AWS_MAX_ATTEMPTS", "AWS_TIMEOUT_SECONDS"} {
		t.Setenv(name, "")
	}
}

func TestPrepareDefaults(t *testing.T) {
	unsetPolling(t)
	c := good()
	require.Empty(t, c.Prepare())
	require.Equal(t, "v2.0", c.IMDSSupport)
	require.Equal(t, "/dev/xvda", c.RootDeviceName)
	require.Equal(t, "gp3", c.VolumeType)
	require.Equal(t, 30*time.Second, c.UploadAttemptTimeout)
	require.Equal(t, 5*time.Minute, c.UploadTimeout)
	require.Equal(t, PollingConfig{DelaySeconds: 2, MaxAttempts: 900}, c.Polling)
	require.Equal(t, []string{"us-east-1"}, c.Targets())
}

func TestPrepareChecksNothingWithoutRegions(t *testing.T) {
	c := Config{AMIName: "?", BootMode: "x"}
	require.False(t, c.Wanted())
	require.Empty(t, c.Prepare())
}

// Every problem names its option.
func TestPrepareProblems(t *testing.T) {
	unsetPolling(t)
	for name, tc := range map[string]struct {
		tweak func(c *Config)
		want  []string
	}{
		"no name":            {func(c *Config) { c.AMIName = "" }, []string{"ami_name", "missing"}},
		"short name":         {func(c *Config) { c.AMIName = "ab" }, []string{"ami_name", "3 to 128", "has 2"}},
		"long name":          {func(c *Config) { c.AMIName = strings.Repeat("a", 129) }, []string{"ami_name", "has 129"}},
		"name with a colon":  {func(c *Config) { c.AMIName = "a:b:c*" }, []string{"ami_name", `':' '*'`}},
		"description":        {func(c *Config) { c.AMIDescription = strings.Repeat("x", 256) }, []string{"ami_description", "255", "256"}},
		"umlaut":             {func(c *Config) { c.AMIDescription = "schön" }, []string{"ami_description", "ASCII", "ö"}},
		"region":             {func(c *Config) { c.Region = "us-east" }, []string{"region: ", `"us-east"`}},
		"regions":            {func(c *Config) { c.Regions = []string{"us_east_1"} }, []string{"regions: ", `"us_east_1"`}},
		"half a key":         {func(c *Config) { c.AccessKey = "AKIA" }, []string{"access_key, secret_key"}},
		"token alone":        {func(c *Config) { c.Token = "x" }, []string{"token"}},
		"key and profile":    {func(c *Config) { c.AccessKey, c.SecretKey, c.Profile = "a", "b", "p" }, []string{"profile", `"p"`}},
		"endpoint":           {func(c *Config) { c.EndpointURL = "localhost:4566" }, []string{"endpoint_url", "localhost:4566", "http://"}},
		"role":               {func(c *Config) { c.AssumeRole.ExternalID = "x" }, []string{"assume_role.role_arn", "missing"}},
		"role arn":           {func(c *Config) { c.AssumeRole.RoleARN = "builder" }, []string{"assume_role.role_arn", `"builder"`}},
		"retries":            {func(c *Config) { c.MaxRetries = -1 }, []string{"max_retries", "-1"}},
		"architecture":       {func(c *Config) { c.AMIArchitecture = "amd64" }, []string{"ami_architecture", `"amd64"`, "x86_64 or arm64"}},
		"boot mode":          {func(c *Config) { c.BootMode = "bios" }, []string{"boot_mode", `"bios"`, "legacy-bios"}},
		"boot mode of arm64": {func(c *Config) { c.AMIArchitecture, c.BootMode = "arm64", "legacy-bios" }, []string{"boot_mode", "arm64"}},
		"imds":               {func(c *Config) { c.IMDSSupport = "v1" }, []string{"imds_support", `"v1"`, "optional"}},
		"device":             {func(c *Config) { c.RootDeviceName = "xvda" }, []string{"root_device_name", `"xvda"`}},
		"volume type":        {func(c *Config) { c.VolumeType = "gp4" }, []string{"volume_type", `"gp4"`}},
		"volume size":        {func(c *Config) { c.VolumeSize = -3 }, []string{"volume_size", "-3"}},
		"own tag":            {func(c *Config) { c.Tags = map[string]string{"aws:x": ""} }, []string{"tags", "aws:"}},
		"long tag":           {func(c *Config) { c.Tags = map[string]string{strings.Repeat("k", 129): ""} }, []string{"tags", "128"}},
		"long value":         {func(c *Config) { c.Tag = config.KeyValues{{Key: "k", Value: strings.Repeat("v", 257)}} }, []string{"tags", "256"}},
		"many tags":          {func(c *Config) { c.Tags = tagsOf("a", 50) }, []string{"tags", "50", "52"}},
		"many snapshot tags": {func(c *Config) { c.Tags, c.SnapshotTags = tagsOf("a", 30), tagsOf("b", 30) }, []string{"snapshot_tags", "62"}},
		"empty key":          {func(c *Config) { c.SnapshotTags = map[string]string{"": "x"} }, []string{"snapshot_tags", "empty"}},
		"concurrency":        {func(c *Config) { c.UploadConcurrency = 65 }, []string{"upload_concurrency", "65"}},
		"upload_timeout":     {func(c *Config) { c.UploadTimeout = time.Millisecond }, []string{"upload_timeout", "1ms"}},
		"attempt":            {func(c *Config) { c.UploadAttemptTimeout = -1 }, []string{"upload_attempt_timeout"}},
		"undo":               {func(c *Config) { c.UndoTimeout = 30 * time.Hour }, []string{"undo_timeout", "30h"}},
		"polling":            {func(c *Config) { c.Polling.MaxAttempts = -1 }, []string{"aws_polling", "max_attempts"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.tweak(&c)
			errs := c.Prepare()
			require.Len(t, errs, 1)
			for _, want := range tc.want {
				require.ErrorContains(t, errs[0], want)
			}
		})
	}
}

func tagsOf(prefix string, n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[fmt.Sprint(prefix, i)] = ""
	}
	return tags
}

func TestPrepareTellsEverythingAtOnce(t *testing.T) {
	c := Config{Regions: []string{"nowhere"}, BootMode: "x", VolumeSize: -1, UndoTimeout: 1}
	require.Len(t, c.Prepare(), 5)
}

func TestPollingFromTheEnvironment(t *testing.T) {
	unsetPolling(t)
	t.Setenv("AWS_POLL_DELAY_SECONDS", "10")
	t.Setenv("AWS_TIMEOUT_SECONDS", "100")
	c := good()
	require.Empty(t, c.Prepare())
	require.Equal(t, PollingConfig{DelaySeconds: 10, MaxAttempts: 10}, c.Polling)
	t.Setenv("AWS_MAX_ATTEMPTS", "7")
	c = good()
	c.Polling.DelaySeconds = 3
	require.Empty(t, c.Prepare())
	require.Equal(t, PollingConfig{DelaySeconds: 3, MaxAttempts: 7}, c.Polling, "the template wins")
	t.Setenv("AWS_MAX_ATTEMPTS", "many")
	c = good()
	require.Len(t, c.Prepare(), 1)
}

func TestTags(t *testing.T) {
	c := Config{
		Tags: map[string]string{"a": "1", "rightimage:version": "mine"}, Tag: config.KeyValues{{Key: "b", Value: "2"}},
		SnapshotTags: map[string]string{"a": "snap"}, SnapshotTag: config.KeyValues{{Key: "c", Value: "3"}},
		Facts: Facts{Provenance: map[string]string{"source": strings.Repeat("ä", 300), "empty": ""}},
	}
	image := c.imageTags()
	require.Equal(t, strings.Repeat("ä", 256), image["rightimage:source"])
	delete(image, "rightimage:source")
	require.Equal(t, map[string]string{"a": "1", "b": "2", "rightimage:version": "mine", "rightimage:publish-id": ""}, image)
	snap := c.snapshotTags("id")
	require.Equal(t, "snap", snap["a"])
	require.Equal(t, "3", snap["c"])
	require.Equal(t, "id", snap["rightimage:publish-id"])
	require.Equal(t, map[string]string{"a": "1", "rightimage:version": "mine"}, c.Tags, "options are not changed")
	c.SkipProvenanceTags = true
	require.NotContains(t, c.imageTags(), "rightimage:source")
}

func TestAWSSettings(t *testing.T) {
	c := Config{Regions: []string{"eu-west-1", "us-east-1", "eu-west-1"}, AccessConfig: AccessConfig{
		AccessKey: "AKIA", SecretKey: "hush", Token: "psst", AssumeRole: AssumeRoleConfig{RoleARN: "arn:x"},
	}}
	require.Equal(t, []string{"eu-west-1", "us-east-1"}, c.Targets())
	require.Equal(t, []string{"hush", "psst"}, c.Secrets())
	a := c.AWS()
	require.Equal(t, "eu-west-1", a.Region)
	require.Equal(t, "arn:x", a.AssumeRole.RoleARN)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", a, a, a), "hush")
}

// An option that nothing reads is a promise that nothing keeps.
func TestEveryOptionIsRead(t *testing.T) {
	var source strings.Builder
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, ".hcl2spec.go") {
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(data)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[AccessConfig](), reflect.TypeFor[PollingConfig]()} {
		for i := range typ.NumField() {
			field := typ.Field(i)
			if field.Anonymous {
				continue
			}
			read := regexp.MustCompile(`\.` + field.Name + `\b(?: *[^ =]| == | [^=])`)
			require.Regexp(t, read, source.String(), "option %s.%s", typ.Name(), field.Name)
		}
	}
}

// checkName says in words what the documentation's pattern says.
func TestCheckNameIsThePattern(t *testing.T) {
	allowed := regexp.MustCompile(`\A[a-zA-Z0-9()\[\] ./\-'@_]{3,128}\z`)
	names := []string{"", "ab", "abc", strings.Repeat("a", 128), strings.Repeat("a", 129), "a\xffc", "abc\n"}
	for r := range rune(0x3000) {
		names = append(names, "a"+string(r)+"c")
	}
	for _, name := range names {
		require.Equal(t, allowed.MatchString(name), len(checkName(name)) == 0, "%q", name)
	}
}
