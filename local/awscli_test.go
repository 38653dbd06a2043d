// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// awsCLI is Debian's package; another aws on PATH may be any version.
const awsCLI = "/usr/bin/aws"

// TestAWSCommandLine drives the server with an unmodified AWS CLI, through a
// whole life of an image.
func TestAWSCommandLine(t *testing.T) {
	if _, err := os.Stat(awsCLI); err != nil {
		t.Skipf("the AWS CLI is not installed (Debian: apt install awscli): %v", err)
	}
	if testing.Short() {
		t.Skip("the AWS CLI takes a second per call")
	}
	cfg := quiet(t)
	cfg.AccessKey, cfg.SecretKey = "AKIDCLI", "cli/secret+key"
	c := start(t, cfg)
	c.ec2, c.ebs = c.clients(region, "AKIDCLI", "cli/secret+key")
	snap := c.snapshot("", map[int32]byte{0: 1, 9: 2})

	aws := func(args ...string) string { return c.cli(t, true, args...) }
	fails := func(args ...string) string { return c.cli(t, false, args...) }

	require.Contains(t, aws("ec2", "describe-regions", "--query", "Regions[].RegionName"), region)
	require.Contains(t, aws("ec2", "describe-snapshots", "--owner-ids", "self", "--snapshot-ids", snap), "100%")
	require.Contains(t, aws("ebs", "list-snapshot-blocks", "--snapshot-id", snap, "--query", "Blocks[].BlockIndex"), "9")
	ami := text(aws("ec2", "register-image", "--name", "cli image", "--architecture", "x86_64", "--virtualization-type", "hvm",
		"--ena-support", "--boot-mode", "legacy-bios", "--root-device-name", "/dev/xvda", "--query", "ImageId",
		"--block-device-mappings", "DeviceName=/dev/xvda,Ebs={SnapshotId="+snap+"}"))
	require.Contains(t, aws("ec2", "describe-images", "--owners", "self", "--filters", "Name=name,Values=cli*"), ami)

	userData := t.TempDir() + "/user-data"
	require.NoError(t, os.WriteFile(userData, []byte("RS_rn_id=1&RS_account=2"), 0o600))
	id := text(aws("ec2", "run-instances", "--image-id", ami, "--instance-type", "t3.micro", "--count", "1",
		"--user-data", "file://"+userData, "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=from cli}]",
		"--query", "Instances[0].InstanceId"))
	inst, ok := c.fleet.get(region, id)
	require.True(t, ok)
	require.Equal(t, "RS_rn_id=1&RS_account=2", string(inst.UserData))
	c.reaches(id, "running")
	aws("ec2", "create-tags", "--resources", id, ami, "--tags", "Key=role,Value=a <b> & c")
	require.Contains(t, aws("ec2", "describe-tags", "--filters", "Name=key,Values=role", "--query", "Tags[].Value"), "a <b> & c")
	require.Contains(t, aws("ec2", "describe-instances", "--filters", "Name=tag:Name,Values=from*", "Name=instance-state-name,Values=running"), id)
	require.Contains(t, aws("ec2", "get-console-output", "--instance-id", id, "--output", "text"), "record only")
	aws("ec2", "reboot-instances", "--instance-ids", id)
	aws("ec2", "stop-instances", "--instance-ids", id)
	c.reaches(id, "stopped")
	aws("ec2", "start-instances", "--instance-ids", id)
	c.reaches(id, "running")
	require.Contains(t, fails("ec2", "delete-snapshot", "--snapshot-id", snap), "InvalidSnapshot.InUse")
	require.Contains(t, fails("ec2", "describe-vpn-gateways"), "UnsupportedOperation")
	require.Contains(t, fails("ec2", "terminate-instances", "--instance-ids", id, "--dry-run"), "DryRunOperation")
	require.Contains(t, aws("ec2", "terminate-instances", "--instance-ids", id), "shutting-down")
	aws("ec2", "deregister-image", "--image-id", ami)
	aws("ec2", "delete-snapshot", "--snapshot-id", snap)
	require.JSONEq(t, "[]", aws("ec2", "describe-images", "--query", "Images"))
	require.Contains(t, aws("sts", "get-caller-identity"), cfg.Account)
}

// TestAWSCommandLineServices uses the other services with it: each speaks a
// protocol of its own.
func TestAWSCommandLineServices(t *testing.T) {
	if _, err := os.Stat(awsCLI); err != nil || testing.Short() {
		t.Skip("the AWS CLI is not installed, or -short: it takes a second per call")
	}
	cfg := quiet(t)
	cfg.AccessKey, cfg.SecretKey = "AKIDCLI", "cli/secret+key"
	c := start(t, cfg)
	c.ec2, c.ebs = c.clients(region, "AKIDCLI", "cli/secret+key")
	ami, snap := c.image("from here")
	aws := func(args ...string) string { return c.cli(t, true, args...) }
	fails := func(args ...string) string { return c.cli(t, false, args...) }

	there := text(aws("ec2", "copy-image", "--region", elsewhere, "--source-region", region, "--source-image-id", ami, "--name", "to there", "--encrypted", "--query", "ImageId"))
	require.Contains(t, aws("ec2", "describe-images", "--region", elsewhere, "--image-ids", there), `"Encrypted": true`)
	require.Contains(t, fails("ec2", "modify-image-attribute", "--region", elsewhere, "--image-id", there, "--launch-permission", "Add=[{UserId=111111111111}]"), "InvalidParameter")
	aws("ec2", "modify-image-attribute", "--image-id", ami, "--launch-permission", "Add=[{UserId=111111111111}]")
	require.Contains(t, aws("ec2", "describe-image-attribute", "--image-id", ami, "--attribute", "launchPermission"), "111111111111")
	require.Contains(t, fails("ec2", "modify-image-attribute", "--image-id", ami, "--launch-permission", "Add=[{Group=all}]"), "OperationNotPermitted")
	aws("ec2", "enable-image-deprecation", "--image-id", ami, "--deprecate-at", "2031-01-02T03:04:05Z")
	require.Contains(t, aws("ec2", "describe-images", "--image-ids", ami), "2031-01-02T03:04:00")
	copied := text(aws("ec2", "copy-snapshot", "--source-region", region, "--source-snapshot-id", snap, "--description", "again", "--query", "SnapshotId"))
	aws("ec2", "modify-snapshot-attribute", "--snapshot-id", copied, "--attribute", "createVolumePermission", "--operation-type", "add", "--user-ids", "111111111111")
	require.Contains(t, aws("ec2", "describe-snapshots", "--restorable-by-user-ids", "111111111111"), copied)
	require.Contains(t, aws("ec2", "get-ebs-default-kms-key-id"), "arn:aws:kms:")

	aws("ssm", "put-parameter", "--name", "/image", "--value", ami, "--type", "String", "--data-type", "aws:ec2:image")
	require.Contains(t, aws("ssm", "get-parameters-by-path", "--path", "/", "--query", "Parameters[].Value"), ami)
	require.Contains(t, fails("ssm", "get-parameter", "--name", "/none"), "ParameterNotFound")

	aws("iam", "create-role", "--role-name", "r", "--assume-role-policy-document", strings.Replace(ec2Trust, `"Service":"ec2.amazonaws.com"`, `"AWS":"*"`, 1))
	aws("iam", "put-role-policy", "--role-name", "r", "--policy-name", "p", "--policy-document", readPolicy)
	require.Contains(t, aws("iam", "get-role-policy", "--role-name", "r", "--policy-name", "p"), "s3:List*")
	require.Contains(t, fails("iam", "delete-role", "--role-name", "r"), "DeleteConflict")
	require.Contains(t, aws("sts", "assume-role", "--role-arn", "arn:aws:iam::"+account+":role/r", "--role-session-name", "cli"), "assumed-role/r/cli")

	file := filepath.Join(t.TempDir(), "manifest")
	require.NoError(t, os.WriteFile(file, []byte("blocks"), 0o600))
	aws("s3", "mb", "s3://cli-bucket")
	aws("s3", "cp", file, "s3://cli-bucket/a b/manifest")
	require.Contains(t, aws("s3", "ls", "s3://cli-bucket/a b/"), "manifest")
	aws("s3", "cp", "s3://cli-bucket/a b/manifest", file+".back")
	back, err := os.ReadFile(file + ".back")
	require.NoError(t, err)
	require.Equal(t, "blocks", string(back))
	aws("s3", "rm", "s3://cli-bucket/a b/manifest")
	aws("s3", "rb", "s3://cli-bucket")
}

func (c *cloud) cli(t *testing.T, wantOK bool, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), awsCLI, append(args, "--endpoint-url", c.Info().Endpoint, "--output", "json")...)
	if strings.Contains(strings.Join(args, " "), "--output text") {
		cmd.Args = cmd.Args[:len(cmd.Args)-2]
	}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=AKIDCLI", "AWS_SECRET_ACCESS_KEY=cli/secret+key",
		"AWS_DEFAULT_REGION=" + region, "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
	}
	out, err := cmd.CombinedOutput()
	require.Equalf(t, wantOK, err == nil, "aws %s: %v\n%s", strings.Join(args, " "), err, out)
	return string(out)
}

// text is a JSON string's value.
func text(jsonText string) string {
	var s string
	if err := json.Unmarshal([]byte(jsonText), &s); err != nil {
		return "not a string: " + jsonText
	}
	return s
}
